// The test routes of the Flask twin (../flask_app/app.py), with iron-session.
//
// Settings come from the environment: RELEASE (9, the default, or 8), PASSWORDS (required: JSON, a text or an object of texts by
// their ids), HOST, PORT, COOKIE_NAME and TTL (seconds). The routes read and write the session as typed JSON. They are for tests
// only: anyone who can reach them can write any session.

import http from 'node:http'

import { ascii, BadRequest, fromTyped, object, toTyped } from '../express_app/typed.js'

const { getIronSession } = await import(`iron-session-${process.env.RELEASE ?? '9'}`)

const options = {
  cookieName: process.env.COOKIE_NAME ?? 'iron-session',
  password: JSON.parse(process.env.PASSWORDS),
  ...(process.env.TTL && { ttl: Number(process.env.TTL) }),
}

async function body(request) {
  const chunks = await Array.fromAsync(request)
  const made = fromTyped(JSON.parse(Buffer.concat(chunks).toString()))
  if (typeof made !== 'object' || made === null || Array.isArray(made)) throw new BadRequest('the body must be an object')
  return made
}

const routes = {
  // Replaces the session by the entries of the body.
  'POST /_test/set': async (session, request) => {
    for (const name of Object.keys(session)) delete session[name]
    Object.assign(session, await body(request))
    await session.save()
  },
  // Adds the entries of the body to what is there.
  'POST /_test/add': async (session, request) => {
    Object.assign(session, await body(request))
    await session.save()
  },
  // The entries, in the session's own order.
  'GET /_test/get': async (session) => `${ascii(JSON.stringify(toTyped(object(Object.entries(session)))))}\n`,
  // Ends the session.
  'POST /_test/clear': async (session) => session.destroy(),
}

const server = http.createServer(async (request, response) => {
  try {
    const route = routes[`${request.method} ${request.url}`]
    const answer = route && (await route(await getIronSession(request, response, options), request))
    response.statusCode = route ? (answer ? 200 : 204) : 404
    response.end(answer)
  } catch (error) {
    if (!error.status) console.error(error)
    response.statusCode = error.status ?? 500
    response.end(`${error.message}\n`)
  }
})
server.listen(Number(process.env.PORT ?? '3000'), process.env.HOST ?? '127.0.0.1', () => {
  const { address, port } = server.address()
  console.log(`iron-session: listening on http://${address}:${port}`)
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(0))
