package brain_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// A client may send its hello in the same packet as its request.
func TestHelloWithTheRequest(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 0})
	published := s.published("game")
	b := s.brain("b1")
	s.until("published", func() bool { return published().ID == "game" })
	token, _ := s.ticket("game", 0)
	hello, _ := json.Marshal(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: strings.Repeat("x", 2000)})
	frame := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(hello)))
	frame = append(append(frame, 0, 0, 0, 0), hello...) // masked with zeros
	address := strings.TrimPrefix(b.url, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "GET /v1/connect HTTP/1.1\r\nHost: " + address + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	if _, err := conn.Write(append([]byte(request), frame...)); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake: %v %v", resp, err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatalf("the first message: %v", err)
	}
	data := make([]byte, head[1])
	var m wire.Message
	if _, err := io.ReadFull(r, data); err != nil || json.Unmarshal(data, &m) != nil || m.Type != wire.MsgQueued {
		t.Errorf("the first message: %q %v", data, err)
	}
}
