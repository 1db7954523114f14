// `openai` for Node: OpenAIRealtimeWS. It makes any base URL wss, so a TLS front stands before the pod.
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { converse, Queue } from './conversation.mjs';
import { asSpoken, given, INTERRUPT_AFTER_BYTES, run, seen } from './scenario.mjs';

await run(async () => {
  const client = new OpenAI({ apiKey: 'unused', baseURL: given.url.replace('wss://', 'https://') });
  const connection = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);
  const events = new Queue();
  connection.on('event', (event) => events.put(event));
  connection.on('error', (error) => seen.errors.push(String(error)));
  connection.socket.on('close', (code) => events.put({ type: 'closed', code }));
  await new Promise((opened, failed) => {
    connection.socket.on('open', opened);
    connection.socket.on('error', failed);
  });
  await converse({
    given,
    seen,
    events,
    enough: INTERRUPT_AFTER_BYTES,
    send: (event) => connection.send(event),
    sizeOf: (base64) => Buffer.from(base64, 'base64').length,
    speak: async () => {
      for await (const piece of asSpoken()) {
        connection.send({ type: 'input_audio_buffer.append', audio: piece.toString('base64') });
      }
    },
  });
  connection.close();
});
