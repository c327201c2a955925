package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit/netline"
)

// peerHook runs before the scripts of each product's page: it knows the connection that the page
// makes, and has it know the line's address alone, in place of the other end's.
func peerHook(tb testing.TB, line *netline.Line) string {
	through := ""
	if line != nil {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			description, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			if err == nil {
				_, err = io.WriteString(w, line.Through(tb, string(description)))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}))
		tb.Cleanup(server.Close)
		through = server.URL
	}
	return `(() => {
	const through = ` + strconv.Quote(through) + `, proto = RTCPeerConnection.prototype, all = [];
	window.RTCPeerConnection = class extends RTCPeerConnection {
		constructor(...args) {
			super(...args);
			all.push(this);
		}
	};
	window.connection = () => all.findLast((pc) => pc.connectionState === 'connected');
	window.inbound = async () => {
		const found = {};
		for (const s of (await window.connection().getStats()).values()) if (s.type === 'inbound-rtp') found[s.kind] = s;
		return found;
	};
	if (!through) return;
	const strip = (sdp) => sdp.split('\r\n').filter((text) => !text.startsWith('a=candidate:')).join('\r\n');
	const local = Object.getOwnPropertyDescriptor(proto, 'localDescription');
	Object.defineProperty(proto, 'localDescription', { configurable: true, get() {
		const { type, sdp } = local.get.call(this) ?? {};
		return type && { type, sdp: strip(sdp) };
	} });
	const on = Object.getOwnPropertyDescriptor(proto, 'onicecandidate');
	Object.defineProperty(proto, 'onicecandidate', { configurable: true, get() { return on.get.call(this); }, set(f) {
		on.set.call(this, f && ((event) => event.candidate?.candidate || f.call(this, event)));
	} });
	const set = proto.setRemoteDescription;
	proto.setRemoteDescription = async function ({ type, sdp }) {
		if (sdp.includes('a=candidate:')) sdp = await (await fetch(through, { method: 'POST', body: sdp })).text();
		return set.call(this, { type, sdp });
	};
	proto.addIceCandidate = async () => {}; // those of the description are enough
})();`
}

// peerRates is what the stream is like, as package js's own statistics count it.
const peerRates = `(async () => {
	const { video } = await window.inbound(), last = window.lastRates ?? { bytesReceived: 0, framesDecoded: 0, timestamp: 0 };
	window.lastRates = video;
	const seconds = (video.timestamp - last.timestamp) / 1000;
	return { kbps: (video.bytesReceived - last.bytesReceived) / 125 / seconds, fps: (video.framesDecoded - last.framesDecoded) / seconds, codec: '' };
})()`

// peerMeasure is what the browser counted in so many milliseconds.
const peerMeasure = `(async (ms) => {
	const before = await window.inbound(), begin = performance.now();
	await new Promise((r) => setTimeout(r, ms));
	const after = await window.inbound();
	const of = (kind, name) => (after[kind]?.[name] ?? 0) - (before[kind]?.[name] ?? 0);
	return { samples: of('audio', 'totalSamplesReceived'), concealed: of('audio', 'concealedSamples'), frames: of('video', 'framesDecoded'),
		freezes: of('video', 'freezeCount'), frozen: of('video', 'totalFreezesDuration'), bytes: of('video', 'bytesReceived'), seconds: (performance.now() - begin) / 1000 };
})(%d)`

// peerSkew is how many milliseconds the sound is behind the picture, ten times in two seconds: by the times of capture
// of what is played, as the browser reckons them from sender reports.
const peerSkew = `(async () => {
	const all = [];
	for (let n = 0; n < 10; n++) {
		await new Promise((r) => setTimeout(r, 200));
		const { audio, video } = await window.inbound();
		if (audio?.estimatedPlayoutTimestamp && video?.estimatedPlayoutTimestamp) all.push(video.estimatedPlayoutTimestamp - audio.estimatedPlayoutTimestamp);
	}
	return all;
})()`

// counted is what peerMeasure says.
type counted struct{ Samples, Concealed, Frames, Freezes, Frozen, Bytes, Seconds float64 }

func (c counted) concealed() float64 { return c.Concealed / max(c.Samples, 1) }
func (c counted) mbps() float64      { return 8 * c.Bytes / c.Seconds / 1e6 }
