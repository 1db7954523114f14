// The scenarios in the protocol's own events, for clients that give a way to send one and a queue of those that come.
// It runs in k6 too, which has none of Node's modules.
const TOOL = {
  type: 'function',
  name: 'look_up',
  description: 'Looks an order up.',
  parameters: { type: 'object', properties: { order: { type: 'string' } }, required: ['order'] },
};

/**
 * Runs a scenario to its end; what was seen is in `seen`.
 * `speak`: says the caller's speech at its pace; a promise. `enough`: so many bytes of a story are heard before it is
 * interrupted. `sizeOf`: bytes of base64.
 */
export async function converse({ given, seen, send, events, speak, enough, sizeOf }) {
  let call_id;
  let speaking;

  async function reply(until = 'response.done') {
    let said = '';
    for (;;) {
      const event = await events.get();
      if (event.type === 'closed') throw new Error(`closed with ${event.code}`);
      if (event.type === 'response.output_audio_transcript.delta') said += event.delta;
      if (event.type === 'conversation.item.input_audio_transcription.completed') seen.heard = event.transcript;
      if (event.type === 'response.function_call_arguments.done') {
        seen.tool_arguments = JSON.parse(event.arguments);
        call_id = event.call_id;
      }
      if (event.type === 'response.output_audio.delta') {
        seen.audio_bytes += sizeOf(event.delta);
        speaking = { item_id: event.item_id, response_id: event.response_id };
        if (until === 'enough audio' && seen.audio_bytes >= enough) return said;
      }
      if (event.type === until) return said;
    }
  }

  const typeIn = (text) => {
    const item = { type: 'message', role: 'user', content: [{ type: 'input_text', text }] };
    send({ type: 'conversation.item.create', item });
    send({ type: 'response.create' });
  };
  const session = { type: 'realtime', audio: { input: { transcription: { model: 'whisper-1' } } } };
  if (given.name === 'tool') session.tools = [TOOL];
  send({ type: 'session.update', session });
  if (given.name === 'spoken') {
    const spoken = speak();
    seen.said = await reply();
    await spoken;
  } else if (given.name === 'typed' || given.name === 'tool') {
    typeIn(given.question);
    seen.said = await reply();
    if (call_id) {
      send({ type: 'conversation.item.create', item: { type: 'function_call_output', call_id, output: 'on its way' } });
      send({ type: 'response.create' });
      seen.said = await reply();
    }
  } else {
    typeIn(given.story);
    seen.said = await reply('enough audio');
    if (given.name === 'interruption') {
      const { item_id, response_id } = speaking;
      send({ type: 'conversation.item.truncate', item_id, content_index: 0, audio_end_ms: 900 });
      send({ type: 'response.cancel', response_id });
      await reply();
      typeIn(given.question);
    } else {
      const spoken = speak();
      await reply();
      await spoken;
    }
    seen.after = await reply();
  }
}

/** Events in their order, for whoever awaits them one by one. */
export class Queue {
  #waiting = [];
  #kept = [];
  put(value) {
    const next = this.#waiting.shift();
    if (next) next(value);
    else this.#kept.push(value);
  }
  get() {
    return this.#kept.length ? Promise.resolve(this.#kept.shift()) : new Promise((next) => this.#waiting.push(next));
  }
}
