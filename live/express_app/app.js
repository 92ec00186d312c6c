// The test routes of the Flask twin (../flask_app/app.py), in Express, in both of its session forms.
//
// Settings come from the environment: FORM (cookie-session, the default, or express-session), SECRET_KEY
// (required), SECRET_KEY_FALLBACKS (comma separated, newest first), HOST, PORT (0: a free one; the line
// that is printed says which), COOKIE_NAME, MAX_AGE (milliseconds; absent: until the browser closes),
// and for express-session REDIS_URL, PREFIX and TTL (seconds). The routes read and write the session as
// typed JSON. They are for tests only: anyone who can reach them can write any session.

import express from 'express'

import { ascii, BadRequest, fromTyped, object, toTyped } from './typed.js'

const FORM = process.env.FORM ?? 'cookie-session'
const COOKIE = 'cookie' // express-session's own member of a session

// The entries of a session: not what express-session keeps beside them.
function entries(session) {
  const own = Object.entries(session ?? {})
  return FORM === 'express-session' ? own.filter(([name]) => name !== COOKIE) : own
}

function replace(session, made) {
  for (const [name] of entries(session)) delete session[name]
  Object.assign(session, made)
}

async function sessions(secrets, name, maxAge) {
  if (FORM === 'cookie-session') {
    const { default: cookieSession } = await import('cookie-session')
    return cookieSession({ name: name ?? 'session', keys: secrets, maxAge })
  }
  const [{ default: session }, { RedisStore }, { createClient }] = await Promise.all([
    import('express-session'),
    import('connect-redis'),
    import('redis'),
  ])
  const client = createClient({ url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379' })
  client.on('error', (error) => console.error(`redis: ${error.message}`))
  await client.connect()
  const ttl = process.env.TTL ? Number(process.env.TTL) : undefined
  return session({
    name: name ?? 'connect.sid',
    secret: secrets,
    store: new RedisStore({ client, prefix: process.env.PREFIX, ttl }),
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: maxAge ?? null },
  })
}

// What express-session does with a callback.
function done(session, method) {
  return new Promise((resolve, reject) => session[method]((error) => (error ? reject(error) : resolve())))
}

function routes(app) {
  const typed = express.json({ type: () => true, limit: '1mb' })
  const body = (request) => {
    const made = fromTyped(request.body)
    if (typeof made !== 'object' || made === null || Array.isArray(made)) {
      throw new BadRequest('the body must be an object')
    }
    return made
  }

  // Replaces the session by the entries of the body. Its id stays.
  app.post('/_test/set', typed, (request, response) => {
    const made = body(request)
    if (FORM === 'cookie-session') request.session = made
    else replace(request.session, made)
    response.status(204).end()
  })

  // The entries, in the session's own order.
  app.get('/_test/get', (request, response) => {
    const json = JSON.stringify(toTyped(object(entries(request.session))))
    response.type('application/json').send(`${ascii(json)}\n`)
  })

  // Adds the entries of the body to what is there, under a new id where there is one.
  app.post('/_test/login', typed, async (request, response) => {
    const made = { ...object(entries(request.session)), ...body(request) }
    if (FORM === 'express-session') await done(request.session, 'regenerate')
    replace(request.session, made)
    response.status(204).end()
  })

  // "Remember me" for an hour, or until the browser closes: `?on=0`. An entry says so too: neither form saves a
  // session of which only the cookie changed.
  app.post('/_test/permanent', (request, response) => {
    const maxAge = (request.query.on ?? '1') === '1' ? 3600000 : null
    if (FORM === 'express-session') request.session.cookie.maxAge = maxAge
    else request.sessionOptions.maxAge = maxAge
    request.session.permanent = maxAge !== null
    response.status(204).end()
  })

  // Ends the session.
  app.post('/_test/clear', async (request, response) => {
    if (FORM === 'express-session') await done(request.session, 'destroy')
    else request.session = null
    response.status(204).end()
  })
}

const secrets = [process.env.SECRET_KEY, ...(process.env.SECRET_KEY_FALLBACKS ?? '').split(',')]
  .map((secret) => secret?.trim())
  .filter(Boolean)
if (!process.env.SECRET_KEY || !['cookie-session', 'express-session'].includes(FORM)) {
  console.error('SECRET_KEY is not set, or FORM is neither cookie-session nor express-session. For example:')
  console.error("  export SECRET_KEY=$(node -p \"crypto.randomBytes(32).toString('hex')\") FORM=express-session")
  process.exit(1)
}

const app = express()
app.disable('x-powered-by')
const maxAge = process.env.MAX_AGE ? Number(process.env.MAX_AGE) : undefined
app.use(await sessions(secrets, process.env.COOKIE_NAME, maxAge))
routes(app)
app.use((error, _request, response, next) => {
  if (response.headersSent) return next(error)
  const status = error.status ?? 500
  if (status >= 500) console.error(error)
  response.status(status).type('text/plain').send(`${error.message}\n`)
})

const server = app.listen(Number(process.env.PORT ?? '3000'), process.env.HOST ?? '127.0.0.1', (error) => {
  if (error) throw error
  const { address, port } = server.address()
  console.log(`${FORM}: listening on http://${address}:${port}`)
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(0))
