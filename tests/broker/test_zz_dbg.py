import threading, time, sys, traceback, logging
from test_broker import *
def test_x(rabbitmq, raw, amqp_url):
    logging.getLogger().setLevel(logging.DEBUG)
    notes = Notes()
    register(rabbitmq, notes.add)
    with working(rabbitmq, ["notes"], threads=1) as w:
        enqueue(rabbitmq, JOB)
        notes.wait(1)
        raw.queue_delete("notes")
        enqueue(rabbitmq, JOB)
        time.sleep(8)
        r=raw.queue_declare("notes",passive=True).method
        print("COUNT",r.message_count,r.consumer_count)
        c=w.consumers["notes"].consumer
        print(c._unsettled, c._channel, c._connection, c._silence.__dict__)
        for tid,f in sys._current_frames().items():
            if tid==w.consumers["notes"].ident: traceback.print_stack(f)
