"""The names patients bear; none is an ordinary word, so that finding one in a message proves a leak."""

from __future__ import annotations

_WOMEN = """
    Amelia Beatriz Camila Daniela Elena Fatima Gabriela Hannah Imani Jasmine Keisha Lucia Mariana Nadia Olivia
    Priya Quinn Rosa Sofia Tamara Ursula Valentina Wanda Ximena Yolanda Zoe Abigail Bridget Chloe Denise Esther
    Frances Guadalupe Helena Irene Josephine Karen Leticia Monique Noemi
"""
_MEN = """
    Aaron Benjamin Carlos Darnell Eduardo Felix Gustavo Hector Ivan Jamal Kevin Luis Miguel Nathan Omar Pedro
    Quentin Rafael Samuel Tomas Ulises Victor Walter Xavier Yusuf Zachary Andre Boris Cedric Dmitri Emilio
    Francisco Gerald Hugo Isaac Joaquin Kwame Leonard Mateo Nikolai
"""
_FAMILIES = """
    Abernathy Acevedo Adeyemi Aguilar Albrecht Alvarado Anderssen Arroyo Bautista Benavides Bergstrom Bianchi
    Bogdanov Boucher Caballero Calderon Castellanos Cervantes Chaudhry Cisneros Cordova Dabrowski Delacroix
    Delgadillo Dubois Echeverria Eriksen Escobedo Espinoza Fernandez Figueroa Fitzgerald Fontaine Galindo
    Gallagher Giordano Gonzalez Grabowski Gutierrez Haddad Halvorsen Hernandez Hidalgo Hoffmann Ibarra Ingram
    Iwanski Jankowski Jaramillo Johansen Kaczmarek Kaminski Karlsson Kowalczyk Kruger Lafontaine Laurent
    Lindqvist Lombardi Lozano Maldonado Marchetti McAllister Mendoza Moreau Mukherjee Nakamura Navarrete Nguyen
    Nwosu Obrien Okafor Olivares Orozco Oyelaran Pacheco Palacios Papadakis Petrov Pham Quintero Ramirez
    Rasmussen Rodriguez Romero Rousseau Salazar Sandoval Schneider Sepulveda Sokolov Soriano Szymanski Takahashi
    Tran Trevino Uribe Valdez Vandermeer Vasquez Velasco Villanueva Vukovic Whitaker Wojcik Yamamoto Ybarra
    Zamora Zielinski Zuniga
"""

GIVEN = {
    "F": tuple(_WOMEN.split()),
    "M": tuple(_MEN.split()),
}

FAMILY = tuple(_FAMILIES.split())

#: Language and its share of the patients.
LANGUAGES = (("en", 0.82), ("es", 0.16), ("fr", 0.02))
