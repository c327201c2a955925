package peer

import (
	"fmt"
	"strings"

	"github.com/pion/sdp/v3"
)

// OfferedCodecs reads from an offer which codecs the browser takes: "h264" (in
// packetization mode 1), "vp8", "opus" and others, in lower case. A pipeline's codec is
// chosen by it.
func OfferedCodecs(offer string) (map[string]bool, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(offer); err != nil {
		return nil, fmt.Errorf("%w: not SDP: %w", ErrOffer, err)
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
		names, mode1 := map[string]string{}, map[string]bool{} // by payload type
		for _, a := range m.Attributes {
			payload, rest, _ := strings.Cut(a.Value, " ")
			switch a.Key {
			case "rtpmap":
				name, _, _ := strings.Cut(rest, "/")
				names[payload] = strings.ToLower(name)
			case "fmtp":
				mode1[payload] = strings.Contains(strings.ReplaceAll(rest, " ", ""), "packetization-mode=1")
			}
		}
		for payload, name := range names {
			if name != "h264" || mode1[payload] {
				found[name] = true
			}
		}
	}
	if !video {
		return nil, fmt.Errorf("%w: it has no video section", ErrOffer)
	}
	return found, nil
}
