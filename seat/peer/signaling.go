package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// gatherFor limits how long an answer waits for host candidates, which take
// milliseconds. Later candidates are trickled.
const gatherFor = 200 * time.Millisecond

// Answer answers the browser's offer. The answer contains the host candidates.
func (p *Peer) Answer(ctx context.Context, offer string) (string, error) {
	if len(offer) > wire.MaxOffer {
		return "", fmt.Errorf("%w: it has more than %d bytes", errOffer, wire.MaxOffer)
	}
	offer, candidates := p.reach.filter(offer)
	codecs, err := offeredCodecs(offer)
	if err != nil {
		return "", err
	}
	if !codecs[strings.ToLower(p.cfg.Codec)] {
		return "", codecError(p.cfg.Codec)
	}
	p.takesMain.Store(p.cfg.Codec == "h264" && codecs[h264Main])
	p.offer = offer
	return p.answer(ctx, offer, candidates)
}

// codecError is an errCodec that says which codec the browser lacks.
type codecError string

func (c codecError) Error() string { return fmt.Sprintf("%v (%s)", errCodec, string(c)) }
func (c codecError) Unwrap() error { return errCodec }

// MissingCodec is the codec's name in lower case.
func (c codecError) MissingCodec() string { return strings.ToLower(string(c)) }

// TakesMain reports whether the browser decodes H.264's Main profile, by the offer that was answered. Frames
// may then be of it.
func (p *Peer) TakesMain() bool { return p.takesMain.Load() }

// h264Main is H.264's Main profile among the codecs of an offer.
const h264Main = "h264 main"

// mainIn reports whether the parameters of H.264 are those of the Main profile, in the packetization mode
// that the seat uses.
func mainIn(fmtp string) bool {
	fmtp = strings.ToLower(strings.ReplaceAll(fmtp, " ", ""))
	return strings.Contains(fmtp, "packetization-mode=1") && strings.Contains(fmtp, "profile-level-id=4d00")
}

// answer answers an offer with that many candidates, which are within reach.
func (p *Peer) answer(ctx context.Context, offer string, candidates int) (string, error) {
	p.candidates.Store(int32(candidates))
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		if p.ctx.Err() != nil {
			return "", errClosed
		}
		return "", fmt.Errorf("%w: %w", errOffer, err)
	}
	if err := p.rejectAudio(); err != nil {
		return "", err
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errOffer, err)
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(answer); err != nil {
		return "", fmt.Errorf("%w: %w", errOffer, err)
	}
	timeout := time.NewTimer(gatherFor)
	defer timeout.Stop()
	select {
	case <-gathered:
	case <-timeout.C:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-p.ctx.Done():
		return "", errClosed
	}
	p.answered.Store(true)
	local := p.pc.LocalDescription().SDP
	if p.gate != nil {
		p.gate.tell(local)
	}
	return local, nil
}

// rejectAudio declines sound where the seat has none. Otherwise the browser would
// start its audio output for a track that stays silent.
func (p *Peer) rejectAudio() error {
	if p.cfg.Audio {
		return nil
	}
	for _, t := range p.pc.GetTransceivers() {
		if t.Kind() == webrtc.RTPCodecTypeAudio {
			if err := t.Stop(); err != nil {
				return fmt.Errorf("stop sound: %w", err)
			}
		}
	}
	return nil
}

// AddCandidate adds a trickled RTCIceCandidateInit. An empty one means that no
// more will come.
func (p *Peer) AddCandidate(candidate json.RawMessage) error {
	if len(candidate) == 0 || string(candidate) == "null" {
		return nil
	}
	if len(candidate) > wire.MaxCandidate {
		return fmt.Errorf("add candidate: it has more than %d bytes", wire.MaxCandidate)
	}
	var init webrtc.ICECandidateInit
	if err := json.Unmarshal(candidate, &init); err != nil {
		return fmt.Errorf("parse candidate: %w", err)
	}
	if init.Candidate == "" {
		return nil
	}
	// The address is not needed: the browser's own connectivity checks reveal it.
	if err := p.reach.check(init.Candidate); errors.Is(err, errOutOfReach) {
		p.log.Debug("candidate dropped", "error", err)
		return nil
	} else if err != nil {
		return err
	}
	if p.candidates.Add(1) > maxCandidates {
		return nil
	}
	if err := p.pc.AddICECandidate(init); err != nil {
		return fmt.Errorf("add candidate: %w", err)
	}
	return nil
}

// offeredCodecs are the codecs that the browser can receive, by its offer: "h264"
// (in packetization mode 1), h264Main, "vp8", "opus" and others, in lower case.
func offeredCodecs(offer string) (map[string]bool, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(offer); err != nil {
		return nil, fmt.Errorf("%w: not SDP: %w", errOffer, err)
	}
	found := map[string]bool{}
	video := false
	for _, m := range d.MediaDescriptions {
		switch m.MediaName.Media {
		case "video":
			video = true
		case "audio":
		default:
			continue
		}
		if _, sends := m.Attribute("sendonly"); sends {
			continue
		}
		names, mode1, main := map[string]string{}, map[string]bool{}, map[string]bool{} // by payload type
		for _, a := range m.Attributes {
			payload, rest, _ := strings.Cut(a.Value, " ")
			switch a.Key {
			case "rtpmap":
				name, _, _ := strings.Cut(rest, "/")
				names[payload] = strings.ToLower(name)
			case "fmtp":
				mode1[payload] = strings.Contains(strings.ReplaceAll(rest, " ", ""), "packetization-mode=1")
				main[payload] = mainIn(rest)
			}
		}
		for payload, name := range names {
			if name != "h264" || mode1[payload] {
				found[name] = true
			}
			if name == "h264" && main[payload] {
				found[h264Main] = true
			}
		}
	}
	if !video {
		return nil, fmt.Errorf("%w: it has no video section", errOffer)
	}
	return found, nil
}
