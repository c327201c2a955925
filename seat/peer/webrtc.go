package peer

import (
	"fmt"
	"net"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/cc"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/pionlog"
)

const (
	playoutDelayURI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	clockRate       = 90000
)

// newAPI is a WebRTC stack for one peer. Each peer has its own, because a
// bandwidth estimator belongs to one connection.
func newAPI(cfg Config, rate *estimator, queues *feedbackQueues, reach reach, tcp ice.TCPMux) (*webrtc.API, error) {
	media, err := newMedia(cfg)
	if err != nil {
		return nil, err
	}
	registry, err := newInterceptors(cfg, media, rate)
	if err != nil {
		return nil, err
	}
	settings, err := newSettings(cfg, reach, tcp)
	if err != nil {
		return nil, err
	}
	settings.BufferFactory = queues.queue
	return webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings)), nil
}

// newMedia registers the one video codec that the pipeline makes, with its profiles, and Opus.
func newMedia(cfg Config) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	feedback := []webrtc.RTCPFeedback{
		{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: webrtc.TypeRTCPFBTransportCC},
	}
	capability, ok := capabilities[cfg.Codec]
	if !ok || cfg.Codec == "opus" {
		return nil, fmt.Errorf("video codec %q must be one of \"h264\", \"vp8\"", cfg.Codec)
	}
	capability.RTCPFeedback = feedback
	const video, rtx, fec, opus, red = 102, 103, 49, 111, 63
	codecs := []webrtc.RTPCodecParameters{
		{RTPCodecCapability: capability, PayloadType: video},
		{RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: clockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", video),
		}, PayloadType: rtx},
		{RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeFlexFEC03, ClockRate: clockRate, SDPFmtpLine: "repair-window=10000000",
		}, PayloadType: fec},
	}
	if cfg.Codec == "h264" { // beside the profile that every browser has
		better := capability
		better.SDPFmtpLine = mainProfile
		codecs = append(codecs, webrtc.RTPCodecParameters{RTPCodecCapability: better, PayloadType: video + 2},
			webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeRTX, ClockRate: clockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", video+2),
			}, PayloadType: rtx + 2})
	}
	for _, c := range codecs {
		if err := m.RegisterCodec(c, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, fmt.Errorf("register %s: %w", c.MimeType, err)
		}
	}
	if err := m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: capabilities["opus"], PayloadType: opus},
		webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("register opus: %w", err)
	}
	if err := m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: mimeTypeRED, ClockRate: 48000, Channels: 2, SDPFmtpLine: fmt.Sprintf("%d/%d", opus, opus),
	}, PayloadType: red}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("register red: %w", err)
	}
	// With transport-wide sequence numbers, absolute send times are not needed.
	for _, uri := range []string{sdp.TransportCCURI, playoutDelayURI} {
		if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, fmt.Errorf("register extension %s: %w", uri, err)
		}
	}
	return m, nil
}

// mainProfile is that of H.264's Main profile.
const mainProfile = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"

var capabilities = map[string]webrtc.RTPCodecCapability{
	"h264": {MimeType: webrtc.MimeTypeH264, ClockRate: clockRate,
		SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
	"vp8": {MimeType: webrtc.MimeTypeVP8, ClockRate: clockRate},
	"opus": {MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
		SDPFmtpLine: "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"},
}

const (
	// leastHistory is how many packets are remembered at least, mostHistory at most: then the browser's
	// numbers of 16 bits still say which of two packets is the later one.
	leastHistory = 2048
	mostHistory  = 32768
)

// historySize is of how many packets it is remembered when they were sent: those of two seconds at a bitrate,
// or more. It is a power of two, so that numbers may wrap around. If there were fewer, the reports of a long
// way or a full line would be about forgotten packets, and would show no queue.
func historySize(bps int) uint16 {
	size := leastHistory
	for size < mostHistory && size < 2*bps/8/payloadSize {
		size *= 2
	}
	return uint16(size)
}

func newInterceptors(cfg Config, media *webrtc.MediaEngine, rate *estimator) (*interceptor.Registry, error) {
	r := &interceptor.Registry{}
	congestion, err := cc.NewInterceptor(func() (cc.BandwidthEstimator, error) { return rate, nil })
	if err != nil {
		return nil, fmt.Errorf("make bandwidth estimator: %w", err)
	}
	r.Add(congestion)
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(media, r); err != nil {
		return nil, fmt.Errorf("configure transport-wide sequence numbers: %w", err)
	}
	// Nothing is sent again after staleAfter: half of the history is enough.
	size := max(historySize(cfg.MaxBitrateBPS)/2, leastHistory)
	responder, err := nack.NewResponderInterceptor(nack.ResponderSize(size))
	if err != nil {
		return nil, fmt.Errorf("make NACK responder: %w", err)
	}
	r.Add(responder)
	return r, nil
}

func newSettings(cfg Config, reach reach, tcp ice.TCPMux) (webrtc.SettingEngine, error) {
	var s webrtc.SettingEngine
	l := cfg.Listen
	s.LoggerFactory = pionlog.To(cfg.Log)
	s.SetICETimeouts(disconnectedAfter, failedAfter, keepalive)
	// Addresses that the browser hides become known by its connectivity checks.
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetRemoteIPFilter(reach.hasIP)
	s.SetICEMaxBindingRequests(maxChecks - 1) // pion sends one more
	s.SetIncludeLoopbackCandidate(l.Loopback)
	s.DisableActiveTCP(true)
	// The browser is the first to know that ICE is connected, so it starts the
	// DTLS handshake. To make it prove its address (HelloVerifyRequest) would cost
	// one more round trip, and ICE's checks have just proved the address.
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return s, fmt.Errorf("answer as DTLS server: %w", err)
	}
	s.SetDTLSInsecureSkipHelloVerify(true)
	// A packet that is sent again has its number, and another header: the transport-wide
	// number counts each sending. AES-GCM must never see that (RFC 7714): two such packets tell
	// who listens how to forge others. Counter mode with HMAC-SHA1 bears it, since the payload
	// is the same.
	s.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	// The browser sends input only, which needs no more.
	s.SetSCTPMaxReceiveBufferSize(256 << 10)

	networks := []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4}
	if l.Media != "" {
		media := net.ParseIP(l.Media)
		if media == nil {
			return s, fmt.Errorf("listen.media %q must be an IP address", l.Media)
		}
		if media.To4() == nil {
			networks = []webrtc.NetworkType{webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP6}
		}
		s.SetIPFilter(func(ip net.IP) bool { return ip.Equal(media) || l.Loopback && ip.IsLoopback() })
	}
	if tcp == nil {
		networks = networks[:1]
	} else {
		s.SetICETCPMux(tcp)
	}
	s.SetNetworkTypes(networks)
	if l.PublicIP != "" {
		if net.ParseIP(l.PublicIP) == nil {
			return s, fmt.Errorf("listen.public_ip %q must be an IP address", l.PublicIP)
		}
		rule := webrtc.ICEAddressRewriteRule{External: []string{l.PublicIP}, Local: l.Media,
			AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteReplace}
		if err := s.SetICEAddressRewriteRules(rule); err != nil {
			return s, fmt.Errorf("publish listen.public_ip: %w", err)
		}
	}
	if l.PortMin != 0 || l.PortMax != 0 {
		if err := s.SetEphemeralUDPPortRange(l.PortMin, l.PortMax); err != nil {
			return s, fmt.Errorf("listen ports %d to %d: %w", l.PortMin, l.PortMax, err)
		}
	}
	return s, nil
}
