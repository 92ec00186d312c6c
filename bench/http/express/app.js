// The routes of bench/peers in Express: node app.js express|express-cookie|express-memory|express-redis|express-postgres PORT
//
// The first has no session; the others are cookie-session, express-session in memory, on the Redis at REDIS_URL and on the
// PostgreSQL at POSTGRES_URL. Their cookies are not Secure: both forms refuse to set such a one without TLS.

import { randomBytes } from 'node:crypto'
import express from 'express'

// 292 bytes as compact JSON, like peers/src/session.rs.
const SESSION = {
  firstName: 'Ada',
  lastName: 'Lovelace',
  favoriteColor: 'moss green',
  visits: 41,
  cart: [
    { article: 4711, amount: 2, note: 'gift wrapping' },
    { article: 815, amount: 1, note: '' },
  ],
  next: '/account/orders?page=2',
  csrf: '4f1c2d5e6f708192a3b4c5d6e7f80912',
  locale: 'en-GB',
  seen: true,
}

const [peer, port] = process.argv.slice(2)
const secret = randomBytes(32).toString('hex')

const app = express()
app.disable('x-powered-by')
switch (peer) {
  case 'express':
    bare()
    break
  case 'express-cookie': {
    const { default: cookieSession } = await import('cookie-session')
    app.use(cookieSession({ keys: [secret], sameSite: 'lax' }))
    routes(async (request) => (request.session = {}))
    break
  }
  case 'express-memory':
  case 'express-redis':
  case 'express-postgres': {
    const { default: session } = await import('express-session')
    const stores = {
      'express-memory': () => new session.MemoryStore(),
      'express-redis': redis,
      'express-postgres': () => postgres(session),
    }
    const store = await stores[peer]()
    app.use(session({ secret, store, resave: false, saveUninitialized: false, cookie: { sameSite: 'lax' } }))
    routes((request) => new Promise((resolve, reject) => {
      request.session.regenerate((error) => (error ? reject(error) : resolve()))
    }))
    break
  }
  default:
    throw new Error(`${peer} is not served here`)
}
app.listen(Number(port), '127.0.0.1', (error) => {
  if (error) throw error
})

async function redis() {
  const [{ RedisStore }, { createClient }] = await Promise.all([import('connect-redis'), import('redis')])
  const url = process.env.REDIS_URL
  const path = url.match(/^redis\+unix:\/\/(.*)$/)?.[1]
  const client = createClient(path ? { socket: { path } } : { url })
  await client.connect()
  return new RedisStore({ client })
}

// As many connections as dewar's.
async function postgres(session) {
  const [{ default: connect }, { default: pg }] = await Promise.all([import('connect-pg-simple'), import('pg')])
  const pool = new pg.Pool({ connectionString: process.env.POSTGRES_URL, max: 16 })
  return new (connect(session))({ pool, createTableIfMissing: true })
}

function bare() {
  app.get('/untouched', (_request, response) => response.send('Hello'))
  app.get('/read', (_request, response) => response.send('Ada'))
  app.get('/write', (_request, response) => response.send('42'))
  app.get('/login', (_request, response) => response.send('Hello'))
  app.get('/seed', (_request, response) => response.send('Hello'))
}

// `renew` begins a session that is empty, under an id of its own where it has one.
function routes(renew) {
  app.get('/untouched', (_request, response) => response.send('Hello'))
  app.get('/read', (request, response) => response.send(request.session.firstName))
  app.get('/write', (request, response) => {
    request.session.visits += 1
    response.send(String(request.session.visits))
  })
  app.get('/login', async (request, response) => {
    await renew(request)
    Object.assign(request.session, { user: 'ada', firstName: 'Ada' })
    response.send('Hello')
  })
  app.get('/seed', (request, response) => {
    Object.assign(request.session, SESSION)
    response.send('Hello')
  })
}
