"""What an author of an agent works with: agent, call, speech, ear and voice. `voice_agent` re-exports all of it."""
