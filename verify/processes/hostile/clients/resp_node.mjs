// What a program on ioredis or node-redis sees: `resp_node.mjs ioredis|redis PORT RING`. The
// packages are found where `setup_protocols` put them, by NODE_PATH.
import { createRequire } from 'node:module'

const require = createRequire(process.env.NODE_PATH + '/')
const [library, port, ring] = process.argv.slice(2)
const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
const number = (id) => String(id).split('-')[1]
const seen = []

async function converse(call, pipeline) {
  seen.push(number(await call('XADD', ring, '*', 'data', 'one')))
  seen.push(number(await call('XADD', ring, '*', 'data', all, 'type', '7')))
  seen.push(await call('RPUSH', ring, 'a', 'b', 'c'))
  seen.push(await call('PUBLISH', ring, 'pub'))
  const ids = await pipeline(Array.from({ length: 100 }, (_, n) => `p${n}`))
  seen.push(ids.filter((id) => /^[0-9]+-[0-9]+$/.test(id)).length)
  seen.push(await call('XADD', ring, '*', 'data', Buffer.alloc(2000)).then(number, () => 'refused'))
  seen.push(await call('XLEN', ring))
}

if (library === 'ioredis') {
  const { Redis } = require('ioredis')
  const client = new Redis(Number(port), '127.0.0.1', { maxRetriesPerRequest: 1 })
  await converse(
    (...words) => client.call(...words),
    async (payloads) => {
      const batch = client.pipeline()
      payloads.forEach((payload) => batch.xadd(ring, '*', 'data', payload))
      return (await batch.exec()).map(([, id]) => id)
    },
  )
  await client.quit()
} else {
  const { createClient } = require('redis')
  const client = createClient({ socket: { host: '127.0.0.1', port: Number(port) } })
  client.on('error', (error) => { console.log(String(error)); process.exit(1) })
  await client.connect()
  await converse(
    (...words) => client.sendCommand(words),
    (payloads) => Promise.all(payloads.map((data) => client.xAdd(ring, '*', { data }))),
  )
  await client.close()
}
console.log(seen.join(' '))
