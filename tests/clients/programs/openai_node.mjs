// `openai` for Node: OpenAIRealtimeWS. It makes any base URL wss, so a TLS front stands before the pod.
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { asSpoken, given, INTERRUPT_AFTER_BYTES, Queue, run, seen } from './scenario.mjs';

const TOOL = {
  type: 'function',
  name: 'look_up',
  description: 'Looks an order up.',
  parameters: { type: 'object', properties: { order: { type: 'string' } }, required: ['order'] },
};
const events = new Queue();
let call_id;
let speaking;

async function reply(until = 'response.done') {
  let said = '';
  for (;;) {
    const event = await events.get();
    if (event.type === 'response.output_audio_transcript.delta') said += event.delta;
    if (event.type === 'conversation.item.input_audio_transcription.completed') seen.heard = event.transcript;
    if (event.type === 'response.function_call_arguments.done') {
      seen.tool_arguments = JSON.parse(event.arguments);
      call_id = event.call_id;
    }
    if (event.type === 'response.output_audio.delta') {
      seen.audio_bytes += Buffer.from(event.delta, 'base64').length;
      speaking = { item_id: event.item_id, response_id: event.response_id };
      if (until === 'enough audio' && seen.audio_bytes >= INTERRUPT_AFTER_BYTES) return said;
    }
    if (event.type === until) return said;
  }
}

await run(async () => {
  const client = new OpenAI({ apiKey: 'unused', baseURL: given.url.replace('wss://', 'https://') });
  const connection = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);
  connection.on('event', (event) => events.put(event));
  connection.on('error', (error) => seen.errors.push(String(error)));
  await new Promise((opened, failed) => {
    connection.socket.on('open', opened);
    connection.socket.on('error', failed);
  });
  const typeIn = (text) => {
    const item = { type: 'message', role: 'user', content: [{ type: 'input_text', text }] };
    connection.send({ type: 'conversation.item.create', item });
    connection.send({ type: 'response.create' });
  };
  const speak = async () => {
    for await (const piece of asSpoken()) {
      connection.send({ type: 'input_audio_buffer.append', audio: piece.toString('base64') });
    }
  };
  const session = { type: 'realtime', audio: { input: { transcription: { model: 'whisper-1' } } } };
  if (given.name === 'tool') session.tools = [TOOL];
  connection.send({ type: 'session.update', session });
  if (given.name === 'spoken') {
    const speaking = speak();
    seen.said = await reply();
    await speaking;
  } else if (given.name === 'typed' || given.name === 'tool') {
    typeIn(given.question);
    seen.said = await reply();
    if (call_id) {
      const item = { type: 'function_call_output', call_id, output: 'on its way' };
      connection.send({ type: 'conversation.item.create', item });
      connection.send({ type: 'response.create' });
      seen.said = await reply();
    }
  } else {
    typeIn(given.story);
    seen.said = await reply('enough audio');
    if (given.name === 'interruption') {
      const { item_id, response_id } = speaking;
      connection.send({ type: 'conversation.item.truncate', item_id, content_index: 0, audio_end_ms: 900 });
      connection.send({ type: 'response.cancel', response_id });
      await reply();
      typeIn(given.question);
    } else {
      const speaking = speak();
      await reply();
      await speaking;
    }
    seen.after = await reply();
  }
  connection.close();
});
