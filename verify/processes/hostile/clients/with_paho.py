"""What a program on paho-mqtt sees: `with_paho.py PORT TOPIC 3|5`."""

import sys
import threading

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

port, topic, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311
client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=protocol)
connected, subscribed = threading.Event(), threading.Event()
codes = {}


def on_connect(_client, _data, _flags, reason, _properties):
    codes["connected"] = reason.value
    connected.set()


def on_subscribe(_client, _data, _id, reasons, _properties):
    codes["subscribe"] = "refused" if all(reason.is_failure for reason in reasons) else "granted"
    subscribed.set()


client.on_connect, client.on_subscribe = on_connect, on_subscribe
client.connect("127.0.0.1", port, keepalive=10)
client.loop_start()
connected.wait(10)
client.publish(topic, b"zero", qos=0)
payloads = [b"one", bytes(range(256)), *(f"p{n}".encode() for n in range(100))]
messages = [client.publish(topic, payload, qos=1) for payload in payloads]
for message in messages:
    message.wait_for_publish(10)
acknowledged = sum(message.is_published() for message in messages)
client.subscribe(topic, qos=1)
subscribed.wait(10)
client.disconnect()
client.loop_stop()
print(f"connected={codes['connected']} acknowledged={acknowledged} subscribe={codes.get('subscribe')}")
