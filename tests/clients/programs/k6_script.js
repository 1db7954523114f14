// `k6`, the load generator: its WebSocket, whose callbacks and timers it runs itself.
import encoding from 'k6/encoding';
import { WebSocket } from 'k6/experimental/websockets';
import { converse, Queue } from './conversation.mjs';

export const options = { vus: 1, iterations: 1 };

const given = JSON.parse(__ENV.GIVEN);
const seen = { said: '', heard: '', audio_bytes: 0, tool_arguments: null, after: '', errors: [] };
const BYTES_PER_S = 48_000;
const CHUNK_BYTES = BYTES_PER_S / 50;
const LIMIT_MS = 55_000;
const speech = new Uint8Array(open(given.speech, 'b')).slice(44);

function speak(socket) {
  const silence = new Uint8Array(2 * BYTES_PER_S);
  const pcm = new Uint8Array(speech.length + silence.length);
  pcm.set(speech);
  let at = 0;
  return new Promise((done) => {
    const timer = setInterval(() => {
      if (at + CHUNK_BYTES > pcm.length) {
        clearInterval(timer);
        done();
        return;
      }
      const audio = encoding.b64encode(pcm.slice(at, at + CHUNK_BYTES).buffer);
      socket.send(JSON.stringify({ type: 'input_audio_buffer.append', audio }));
      at += CHUNK_BYTES;
    }, 1000 * CHUNK_BYTES / BYTES_PER_S);
  });
}

function tell() {
  console.log(JSON.stringify(seen));
}

export default function () {
  const socket = new WebSocket(`${given.url}/realtime?model=gpt-realtime`);
  const events = new Queue();
  let isOver = false;
  const limit = setTimeout(() => {
    seen.errors.push('timed out');
    socket.close();
  }, LIMIT_MS);
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === 'error') seen.errors.push(JSON.stringify(event.error));
    events.put(event);
  };
  socket.onerror = (error) => seen.errors.push(error.error);
  socket.onclose = () => {
    clearTimeout(limit);
    if (!isOver) seen.errors.push('closed');
    tell();
  };
  socket.onopen = () => {
    converse({
      given,
      seen,
      events,
      enough: BYTES_PER_S,
      send: (event) => socket.send(JSON.stringify(event)),
      sizeOf: (base64) => encoding.b64decode(base64).byteLength,
      speak: () => speak(socket),
    }).then(
      () => {
        isOver = true;
        socket.close();
      },
      (error) => {
        seen.errors.push(String(error));
        socket.close();
      },
    );
  };
}
