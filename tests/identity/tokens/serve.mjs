// Serves standard input's first line over HTTPS: prints the port, then, when its input ends, how many requests came.
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin });
let asked = 0;
lines.once('line', (line) => {
  const { key, cert, body } = JSON.parse(line);
  const server = createServer({ key, cert }, (_, response) => {
    asked += 1;
    response.end(body);
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
});
lines.once('close', () => {
  console.log(asked);
  process.exit(0);
});
