import test from 'node:test';
import assert from 'node:assert/strict';
import { Player } from '../assets/js/player.js';

// A browser, as far as a player that has no session asks for one.
class Connection {
  iceGatheringState = 'complete';
  addTransceiver() {}
  createDataChannel() { return {}; }
  async createOffer() { return {}; }
  async setLocalDescription() {}
  close() {}
}

test('with the player, what it had to send ends', async () => {
  globalThis.RTCPeerConnection = Connection;
  const player = new Player({ app: 'viewer', stage: { clear() {} } });
  player.messages.live = true; // Play was pressed
  const sent = player.messages.send(1);
  player.stop();
  await assert.rejects(sent, /session has ended/);
  await assert.rejects(player.messages.send(2), /no session/);
});
