package web_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/turn"
)

// relay is a TURN server that reaches all seats of this machine.
type relay struct {
	url, udp  string
	low, high int // its relays' ports
	life      time.Duration
}

const turnSecret ticket.TURNSecret = "shared"

func startTURN(t *testing.T, at home, life time.Duration) *relay {
	t.Helper()
	ports := testkit.Ports(t, 64)
	r := &relay{low: ports[0], high: ports[len(ports)-1], life: life}
	server, err := turn.New(turn.Config{Realm: "test", Secrets: []ticket.TURNSecret{turnSecret}, RelayIP: netip.MustParseAddr("127.0.0.1"),
		PortMin: uint16(r.low), PortMax: uint16(r.high), PerName: 16, Relays: 64, Rate: 5 << 20, MaxAge: time.Hour, Loopback: true,
		Conns: guard.Limits{Unproven: 100, Proven: 100, Calm: 10 * time.Second, Busy: 2 * time.Second}, Log: testkit.Logger(t)})
	testkit.Must(t, err)
	server.Nodes([]wire.Node{{Name: "seat-1", Media: []string{"127.0.0.1:1024-65535"}}})
	tcp, err := at.listen()
	testkit.Must(t, err)
	r.url = "turn:" + tcp.Addr().String() + "?transport=tcp"
	udp, err := at.listenPacket()
	testkit.Must(t, err)
	r.udp = "turn:" + udp.LocalAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, turn.Listeners{UDP: udp, TCP: tcp}) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func (r *relay) servers() []wire.ICEServer {
	name, password := turnSecret.Credentials(time.Now().Add(r.life))
	return []wire.ICEServer{{URLs: []string{r.url}, Username: name, Credential: password}}
}

// only lets a seat's packets go to relays and come from them alone.
func (r *relay) only(a net.Addr) bool {
	_, text, _ := net.SplitHostPort(a.String())
	port, _ := strconv.Atoi(text)
	return port >= r.low && port <= r.high
}

// walkRelayed plays where no UDP gets through to the seat: the page finds that out and goes
// through TURN, and the picture outlives the first credentials.
func walkRelayed(v *visit) {
	const life = 10 * time.Second
	r := startTURN(v.T, v.site.at, life)
	v.site.only = r.only
	grant := v.site.grant(false)
	v.open("/play/viewer")
	v.press(".play-button")
	b := v.site.nextBrain()
	grant.ICEServers = r.servers() // now: the page takes its time to load
	expired := time.Now().Add(life)
	b.say(wire.Message{Type: wire.MsgGranted, Grant: grant})
	v.site.answer(b, b.hello.SDP)
	again := b.hear(wire.MsgOffer) // without a path for a second
	v.site.answer(b, again.SDP)
	v.until("nearcast.state === 'streaming'")
	ms, err := chromedp.Run(v.ctx, chromedp.Evaluate[float64]("nearcast.firstFrameMS"))
	testkit.Must(v, err)
	v.Logf("from Play to the first frame over TURN: %.0f ms", ms)
	b.say(wire.Message{Type: wire.MsgICE, ICEServers: r.servers()})
	testkit.Until(v, "the first credentials have expired", func() bool { return time.Now().After(expired) })
	v.until("document.querySelector('video').currentTime > 1 && nearcast.state === 'streaming'")
}
