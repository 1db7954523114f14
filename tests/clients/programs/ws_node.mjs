// `ws`: a bare WebSocket. All of its events have one id, and its appends are of a size that is an odd number of samples.
import WebSocket from 'ws';
import { converse, Queue } from './conversation.mjs';
import { asSpoken, given, INTERRUPT_AFTER_BYTES, run, seen } from './scenario.mjs';

const FIXED_ID = 'event_345';
const ODD_BYTES = 1154;

await run(async () => {
  const socket = new WebSocket(`${given.url}/realtime?model=gpt-realtime`, { perMessageDeflate: false });
  const events = new Queue();
  socket.on('message', (data) => {
    const event = JSON.parse(data);
    if (event.type === 'error') seen.errors.push(JSON.stringify(event.error));
    events.put(event);
  });
  socket.on('close', (code, reason) => events.put({ type: 'closed', code, reason: String(reason) }));
  await new Promise((opened, failed) => {
    socket.on('open', opened);
    socket.on('error', failed);
  });
  await converse({
    given,
    seen,
    events,
    enough: INTERRUPT_AFTER_BYTES,
    send: (event) => socket.send(JSON.stringify({ ...event, event_id: FIXED_ID })),
    sizeOf: (base64) => Buffer.from(base64, 'base64').length,
    speak: async () => {
      let kept = Buffer.alloc(0);
      for await (const piece of asSpoken()) {
        kept = Buffer.concat([kept, piece]);
        for (; kept.length >= ODD_BYTES; kept = kept.subarray(ODD_BYTES)) {
          const audio = kept.subarray(0, ODD_BYTES).toString('base64');
          socket.send(JSON.stringify({ type: 'input_audio_buffer.append', audio }));
        }
      }
    },
  });
  socket.close(1000);
});
