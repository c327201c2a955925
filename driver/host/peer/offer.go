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
		single := map[string]bool{} // payload types of H.264 in packetization mode 0
		names := map[string]string{}
		for _, a := range m.Attributes {
			payload, rest, _ := strings.Cut(a.Value, " ")
			switch a.Key {
			case "rtpmap":
				name, _, _ := strings.Cut(rest, "/")
				names[payload] = strings.ToLower(name)
				single[payload] = single[payload] || names[payload] == "h264"
			case "fmtp":
				if strings.Contains(strings.ReplaceAll(rest, " ", ""), "packetization-mode=1") {
					single[payload] = false
					names[payload+"+"] = "" // mode 1 was seen, whatever the order of lines
				}
			}
		}
		for payload, name := range names {
			if _, mode1 := names[payload+"+"]; name != "" && (mode1 || !single[payload]) {
				found[name] = true
			}
		}
	}
	if !video {
		return nil, fmt.Errorf("%w: it has no video section", ErrOffer)
	}
	return found, nil
}
