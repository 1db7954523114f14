// `@openai/agents`: RealtimeSession with its OpenAIRealtimeWebSocket transport, every event checked against its schemas.
import { tool } from '@openai/agents';
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from '@openai/agents/realtime';
import { z } from 'zod';
// The schemas are not exported, and what fails them is passed over in silence.
import { parseRealtimeEvent } from './node_modules/@openai/agents-realtime/dist/openaiRealtimeEvents.mjs';
import { Queue } from './conversation.mjs';
import { asSpoken, given, INTERRUPT_AFTER_BYTES, run, seen } from './scenario.mjs';

const UNKNOWN_TO_IT = new Set(['conversation.item.input_audio_transcription.segment']);
const lookUp = tool({
  name: 'look_up',
  description: 'Looks an order up.',
  parameters: z.object({ order: z.string() }),
  execute: async (order) => {
    seen.tool_arguments = order;
    return 'on its way';
  },
});
const events = new Queue();

async function reply(until = 'response.done') {
  let said = '';
  for (;;) {
    const event = await events.get();
    if (event.type === 'response.output_audio_transcript.delta') said += event.delta;
    if (event.type === 'conversation.item.input_audio_transcription.completed') seen.heard = event.transcript;
    if (event.type === 'audio') {
      seen.audio_bytes += event.data.byteLength;
      if (until === 'enough audio' && seen.audio_bytes >= INTERRUPT_AFTER_BYTES) return said;
    }
    if (event.type === until) return said;
  }
}

await run(async () => {
  const agent = new RealtimeAgent({
    name: 'caller',
    instructions: 'Be kind.',
    tools: given.name === 'tool' ? [lookUp] : [],
  });
  const transport = new OpenAIRealtimeWebSocket({ url: `${given.url}/realtime?model=gpt-realtime` });
  const config = given.turn_detection ? { audio: { input: { turnDetection: { type: given.turn_detection } } } } : {};
  const session = new RealtimeSession(agent, { transport, tracingDisabled: true, config });
  session.on('error', (error) => seen.errors.push(JSON.stringify(error)));
  session.on('audio', (event) => events.put({ type: 'audio', data: event.data }));
  session.transport.on('*', (event) => {
    const { isGeneric } = parseRealtimeEvent({ data: JSON.stringify(event) });
    if (isGeneric && !UNKNOWN_TO_IT.has(event.type)) seen.errors.push(`not taken: ${JSON.stringify(event)}`);
    events.put(event);
  });
  await session.connect({ apiKey: 'unused', model: 'gpt-realtime' });
  const speak = async () => {
    for await (const piece of asSpoken()) session.sendAudio(new Uint8Array(piece).buffer);
  };
  if (given.name === 'spoken') {
    const speaking = speak();
    seen.said = await reply();
    await speaking;
  } else if (given.name === 'typed' || given.name === 'tool') {
    session.sendMessage(given.question);
    seen.said = await reply();
    if (given.name === 'tool') seen.said = await reply();
  } else {
    session.sendMessage(given.story);
    seen.said = await reply('enough audio');
    if (given.name === 'interruption') {
      session.interrupt();
      await reply();
      session.sendMessage(given.question);
    } else {
      const speaking = speak();
      await reply();
      await speaking;
    }
    seen.after = await reply();
  }
  session.close();
});
