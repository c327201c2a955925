// peer.js: the WebRTC peer connection to a seat: receives video and audio,
// sends input. It is made, and its offer with host candidates is ready, while
// the person still looks at the Play button.

const GATHER_MS = 250; // with no candidate by then, they are sent after the offer

const setup = (iceServers) => ({ iceServers, bundlePolicy: 'max-bundle' });

export class Peer {
  // The callbacks: onTrack(track, receiver), onCandidate(init), onState(state), onPath(found),
  // onInput() when the input channel opens, onPong(seq), onPointer(wire.Pointer), onClip(wire.Clip), onChunk(data) of wire.ChannelClip, onMessages() when wire.ChannelMessages opens, onMessage(data) of it, onRumble(wire.Rumble).
  constructor(callbacks, iceServers = []) {
    this.callbacks = callbacks;
    this.pc = null;
    this.closed = false;
    this.shipped = false; // the offer was sent: later candidates are sent separately
    this.pending = [];    // remote candidates that came before the answer
    this.#make(iceServers);
  }

  #make(iceServers) {
    const pc = new RTCPeerConnection(setup(iceServers));
    this.pc = pc;
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    this.input = pc.createDataChannel('input');
    this.pointer = pc.createDataChannel('pointer', { ordered: false, maxRetransmits: 0 });
    this.clips = pc.createDataChannel('clip'); // that of a ClipLink
    this.clips.binaryType = 'arraybuffer';
    this.clips.onmessage = ({ data }) => this.#tell('onChunk', data);
    const messages = pc.createDataChannel('messages');
    messages.binaryType = 'arraybuffer';
    messages.onopen = () => this.#tell('onMessages');
    messages.onmessage = ({ data }) => this.#tell('onMessage', data);
    // That of a Messages.
    this.messageChannel = {
      get open() { return messages.readyState === 'open'; },
      send(message) { if (this.open) messages.send(message); },
      close: () => messages.close(),
    };
    this.input.onopen = () => this.#tell('onInput');
    this.input.onmessage = ({ data }) => this.#heard(data);
    pc.ontrack = ({ track, receiver }) => {
      // Interactive: a late frame is worse than a lost one.
      if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
      if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = 0;
      this.#tell('onTrack', track, receiver);
    };
    pc.onicecandidate = ({ candidate }) => {
      if (this.shipped) this.#tell('onCandidate', candidate ? candidate.toJSON() : { candidate: '' });
    };
    pc.onconnectionstatechange = () => {
      if (this.pc !== pc) return;
      // Where only the way is lost, another may be found.
      const way = pc.connectionState === 'failed' && pc.iceConnectionState === 'failed';
      this.#tell('onState', way ? 'disconnected' : pc.connectionState);
    };
    pc.oniceconnectionstatechange = () => {
      const state = pc.iceConnectionState;
      if (this.pc !== pc) return;
      if (state === 'connected' || state === 'completed') this.#tell('onPath', true);
      if (state === 'failed') this.#tell('onPath', false);
    };
    this.ready = this.#gather(pc);
    this.ready.catch(() => {}); // offer() reports it
  }

  async #gather(pc) {
    await pc.setLocalDescription(await pc.createOffer());
    if (pc.iceGatheringState === 'complete') return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, GATHER_MS);
      // One candidate is enough to begin with; before Play there is time for all.
      pc.addEventListener('icecandidate', () => {
        clearTimeout(timer);
        resolve();
      }, { once: true });
    });
  }

  // setServers takes the ICE servers of the launch. Most sites need none, and
  // then the prepared offer stands; else it is made again with them.
  setServers(servers) {
    if (servers.length === 0 || this.closed) return;
    this.pc.close();
    this.#make(servers);
  }

  // offer resolves to the SDP to send.
  async offer() {
    await this.ready;
    this.shipped = true;
    return this.pc.localDescription.sdp;
  }

  // restart resolves to the SDP of an offer to look for another way to the seat. An
  // earlier one that was not answered is void: the network may have changed again.
  async restart(iceServers) {
    const { pc } = this;
    // Of the network that there is now, perhaps only the way to a TURN server leads out. An
    // older Firefox cannot be told.
    pc.setConfiguration?.(setup(iceServers));
    if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    return pc.localDescription.sdp;
  }

  async answer(sdp) {
    if (this.closed || this.pc.signalingState !== 'have-local-offer') return;
    await this.pc.setRemoteDescription({ type: 'answer', sdp });
    for (const candidate of this.pending.splice(0)) await this.candidate(candidate);
  }

  async candidate(init) {
    if (this.closed) return;
    if (!this.pc.remoteDescription) {
      this.pending.push(init);
      return;
    }
    try {
      await this.pc.addIceCandidate(init?.candidate ? init : undefined);
    } catch {
      // A kind of candidate that this browser does not know; the others remain.
    }
  }

  // send is reliable and in order.
  send(input) {
    if (this.input.readyState === 'open') this.input.send(JSON.stringify(input));
  }

  // move may be lost: for positions, which the next one replaces. While the channel
  // is congested they are dropped here, where that costs no time. Then it gives false.
  move(input) {
    if (this.pointer.readyState !== 'open' || this.pointer.bufferedAmount >= 4096) return false;
    this.pointer.send(JSON.stringify(input));
    return true;
  }

  close() {
    this.closed = true;
    this.pc.close();
  }

  #heard(data) {
    try {
      const message = JSON.parse(data);
      if (message.t === 'pong') this.#tell('onPong', message.seq ?? 0);
      if (message.t === 'clip') this.#tell('onClip', message);
      if (message.t === 'rumble') this.#tell('onRumble', message);
      if (message.t === 'pointer') this.#tell('onPointer', message);
    } catch {
      // Not ours.
    }
  }

  #tell(name, ...args) {
    if (!this.closed) this.callbacks[name]?.(...args);
  }
}
