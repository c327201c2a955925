package stun

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const transaction = "b7e7a701bc34d686fa87dfae"

// TestAnswer holds answers to the sample addresses of RFC 5769.
func TestAnswer(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:32853":                              "0101 000c 2112a442" + transaction + "0020 0008 0001 a147 e112a643",
		"[::ffff:192.0.2.1]:32853":                     "0101 000c 2112a442" + transaction + "0020 0008 0001 a147 e112a643",
		"[2001:db8:1234:5678:11:2233:4455:6677]:32853": "0101 0018 2112a442" + transaction + "0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9",
	} {
		if got := answer(nil, unhex(t, transaction), netip.MustParseAddrPort(from)); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %x", from, got)
		}
	}
}

func TestServe(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, conn) }()
	client, err := net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(60 * time.Second))
	ask := func(id string) string { return "0001 0000 2112a442" + strings.Repeat(id, 12) }
	// None of these is answered, and so the first answer is to the last question.
	for _, packet := range []string{
		"", "00", "0001 0000 2112a442", ask("01")[:38], // short
		"0001 0000 2112a443" + strings.Repeat("02", 12),          // another cookie
		"0101 0000 2112a442" + strings.Repeat("03", 12),          // a response: two of us would never stop
		"0011 0000 2112a442" + strings.Repeat("04", 12),          // an indication
		"0003 0000 2112a442" + strings.Repeat("05", 12),          // TURN allocate
		"0001 0008 2112a442" + strings.Repeat("06", 12) + "8022", // cut off
		"0001 0003 2112a442" + strings.Repeat("07", 12) + "802200",
		"0001 0004 2112a442" + strings.Repeat("08", 12) + "8022000000000000", // longer than it says
	} {
		if _, err := client.Write(unhex(t, packet)); err != nil {
			t.Fatal(err)
		}
	}
	for _, packet := range []string{ask("aa"), "0001 0008 2112a442" + strings.Repeat("bb", 12) + "8022 0004 74657374"} {
		if _, err := client.Write(unhex(t, packet)); err != nil {
			t.Fatal(err)
		}
		in := make([]byte, 100)
		n, err := client.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		want := answer(nil, unhex(t, packet)[8:20], client.LocalAddr().(*net.UDPAddr).AddrPort())
		if !bytes.Equal(in[:n], want) {
			t.Errorf("%x, want %x", in[:n], want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
