// Fastify with ioredis: a JSON string of the query goes to the list, then 200.
// node server.js PORT TLS_PORT REDIS_PORT CERT KEY

const { readFileSync } = require("fs");
const Redis = require("ioredis");
const fastify = require("fastify");

const [port, tlsPort, redisPort, cert, key] = process.argv.slice(2);

// Commands of one round of the event loop go out together.
const redis = new Redis({
  host: "127.0.0.1",
  port: Number(redisPort),
  enableAutoPipelining: true,
});

function serve(options, where) {
  const app = fastify(options);

  app.post("/voc", async (request) => {
    const event = { ...request.query, received: new Date().toISOString() };
    await redis.rpush("voc:node", JSON.stringify(event));
    return { status: "accepted" };
  });
  return app.listen({ host: "127.0.0.1", port: Number(where) });
}

serve({}, port);
serve({ https: { cert: readFileSync(cert), key: readFileSync(key) } }, tlsPort);
