package x11

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
)

// reply is a set-up reply as servers make it, with one screen.
func reply() []byte {
	format := func(depth, bits byte) []byte { return []byte{depth, bits, 32, 0, 0, 0, 0, 0} }
	screen := make([]byte, screenSize)
	binary.LittleEndian.PutUint32(screen, 0x52d)
	binary.LittleEndian.PutUint16(screen[20:], 1366)
	binary.LittleEndian.PutUint16(screen[22:], 768)
	screen[38], screen[39] = 24, 2
	depths := [][]byte{
		{24, 0, 2, 0, 0, 0, 0, 0}, make([]byte, 2*visualSize),
		{1, 0, 0, 0, 0, 0, 0, 0},
	}
	vendor := []byte("Somebody\x00\x00\x00\x00") // 9 bytes, padded
	fixed := make([]byte, fixedSize)
	binary.LittleEndian.PutUint32(fixed[4:], 0x400000)
	binary.LittleEndian.PutUint16(fixed[16:], 9)
	fixed[20], fixed[21] = 1, 2
	body := bytes.Join([][]byte{fixed, vendor, format(1, 1), format(24, 32), screen, bytes.Join(depths, nil)}, nil)
	head := []byte{setupSuccess, 0, 11, 0, 0, 0, 0, 0}
	binary.LittleEndian.PutUint16(head[6:], uint16(len(body)/4))
	return append(head, body...)
}

func TestParseSetup(t *testing.T) {
	want := Setup{ResourceBase: 0x400000, Root: 0x52d, Width: 1366, Height: 768, Depth: 24, BitsPerPixel: 32}
	if got, err := parseSetup(reply()); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	refuse := func(code byte, length byte, reason string) []byte {
		return append([]byte{code, length, 11, 0, 0, 0, byte(len(reason) / 4), 0}, reason...)
	}
	change := func(at int, v byte) []byte {
		b := reply()
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		reply []byte
		say   string
	}{
		"refused":                  {refuse(setupFailed, 6, "No way\n\x00"), "refused: No way"},
		"refused, for no reason":   {refuse(setupFailed, 0, ""), "refused"},
		"refused, at lying length": {refuse(setupFailed, 255, "No!\n"), "refused: No!"},
		"another scheme":           {refuse(2, 0, "Kerberos"), "Kerberos"},
		"version 12":               {change(2, 12), "12.0"},
		"no screen":                {change(replyHead+20, 0), "malformed"},
		"screens that are missing": {change(replyHead+20, 200), "malformed"},
		"formats that are missing": {change(replyHead+21, 255), "malformed"},
		"a vendor without end":     {change(replyHead+17, 255), "malformed"},
		"depths that are missing":  {change(replyHead+fixedSize+12+2*formatSize+39, 255), "malformed"},
		"visuals without end":      {change(replyHead+fixedSize+12+2*formatSize+screenSize+3, 255), "malformed"},
		"a body of no words":       {refuse(setupSuccess, 0, ""), "malformed"},
	} {
		if got, err := parseSetup(c.reply); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: got %+v, %v; want it to say %q", name, got, err, c.say)
		}
	}
	for n := range reply() {
		cut := reply()[:n]
		if _, err := parseSetup(cut); !errors.Is(err, errMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if n < replyHead {
			continue
		}
		if words := (n - replyHead) / 4; (n-replyHead)%4 == 0 { // it says itself that it is so short
			binary.LittleEndian.PutUint16(cut[6:], uint16(words))
			if _, err := parseSetup(cut); !errors.Is(err, errMalformed) {
				t.Errorf("%d words: %v", words, err)
			}
		}
	}
}

func TestSetupRequest(t *testing.T) {
	if got, want := setupRequest(Cookie{}), "l\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00"; string(got) != want {
		t.Errorf("without a cookie: %q", got)
	}
	c := Cookie([]byte("0123456789abcdef"))
	if got, want := setupRequest(c), "l\x00\x0b\x00\x00\x00\x12\x00\x10\x00\x00\x00"+cookieName+"\x00\x00"+"0123456789abcdef"; string(got) != want {
		t.Errorf("with a cookie: %q", got)
	}
}

// FuzzParseSetup gives to xgb what parseSetup accepts: it must not panic.
func FuzzParseSetup(f *testing.F) {
	f.Add(reply())
	f.Add([]byte{setupFailed, 200, 11, 0, 0, 0, 1, 0, 'n', 'o', '!', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSetup(b)
		if err != nil {
			return
		}
		var info xproto.SetupInfo
		xproto.SetupInfoRead(b, &info)
		if len(info.Roots) == 0 || uint32(info.Roots[0].Root) != s.Root {
			t.Errorf("%+v, but xgb has %+v", s, info)
		}
	})
}

// The real thing: what a server says is accepted to its last byte.
func TestSetupOfXvfb(t *testing.T) {
	display, _ := testkit.Xvfb(t, nil)
	conn, reply, setup, err := connect(Local(display), Cookie{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if again, err := parseSetup(reply); err != nil || again != setup {
		t.Errorf("got %+v, %v; want %+v", again, err, setup)
	}
	for n := 0; n < len(reply)-replyHead; n += 4 {
		cut := bytes.Clone(reply[:replyHead+n])
		binary.LittleEndian.PutUint16(cut[6:], uint16(n/4))
		if _, err := parseSetup(cut); err == nil {
			t.Errorf("%d of %d bytes are enough", n, len(reply)-replyHead)
		}
	}
}
