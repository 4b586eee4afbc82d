// What a program on mqtt.js sees: `mqtt_js.mjs PORT TOPIC 3|5`. The package is found by NODE_PATH.
import { createRequire } from 'node:module'

const require = createRequire(process.env.NODE_PATH + '/')
const mqtt = require('mqtt')
const [port, topic, version] = process.argv.slice(2)
const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, {
  protocolVersion: version === '5' ? 5 : 4,
  reconnectPeriod: 0,
})
const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
await client.publishAsync(topic, 'zero', { qos: 0 })
const payloads = ['one', all, ...Array.from({ length: 100 }, (_, n) => `p${n}`)]
const told = await Promise.allSettled(payloads.map((data) => client.publishAsync(topic, data, { qos: 1 })))
const acknowledged = told.filter((one) => one.status === 'fulfilled').length
const granted = await client.subscribeAsync(topic, { qos: 1 }).then(
  (grants) => (grants.every((grant) => grant.qos >= 128) ? 'refused' : 'granted'),
  () => 'refused',
)
await client.endAsync()
console.log(`connected=0 acknowledged=${acknowledged} subscribe=${granted}`)
