package main

import (
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// picture is what the app shows, read from its display with its own cookie.
func (s *streamHost) picture(status wire.StreamHostStatus) *image.RGBA {
	s.t.Helper()
	root, env := "", environ(s.t, status.AppPID)
	if s.spec.Isolate {
		root = fmt.Sprintf("/proc/%d/root", status.InitPID)
	}
	number, err := x11.Number(env["DISPLAY"])
	testkit.Must(s.t, err)
	authority, err := os.ReadFile(root + env["XAUTHORITY"])
	testkit.Must(s.t, err)
	var cookie x11.Cookie // the end of the only entry
	copy(cookie[:], authority[max(0, len(authority)-len(cookie)):])
	conn, setup, err := x11.Connect(func() (*net.UnixConn, error) {
		return net.DialUnix("unix", nil, &net.UnixAddr{Name: root + x11.Socket(number), Net: "unix"})
	}, cookie)
	testkit.Must(s.t, err)
	defer conn.Close()

	const getImage, zPixmap = 73, 2
	width, height := s.spec.Display.Width, s.spec.Display.Height
	request := []byte{getImage, zPixmap}
	request = binary.LittleEndian.AppendUint16(request, 5) // words
	for _, word := range []uint32{setup.Root, 0, uint32(width) | uint32(height)<<16, ^uint32(0)} {
		request = binary.LittleEndian.AppendUint32(request, word)
	}
	_, err = conn.Write(request)
	testkit.Must(s.t, err)
	head := make([]byte, 32)
	for head[0] != 1 { // before the reply, events may come that every client gets
		if _, err := io.ReadFull(conn, head); err != nil || head[0] == 0 {
			s.t.Fatalf("no picture of the display: %v, reply %v", err, head)
		}
	}
	reply := make([]byte, 4*width*height)
	_, err = io.ReadFull(conn, reply)
	testkit.Must(s.t, err)
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := 0; i < len(p.Pix); i += 4 {
		b := reply[i:]
		p.Pix[i], p.Pix[i+1], p.Pix[i+2], p.Pix[i+3] = b[2], b[1], b[0], 0xff
	}
	return p
}

// keep writes a picture for people who look at it: go test -artifacts.
func (s *streamHost) keep(name string, p *image.RGBA) {
	s.t.Helper()
	f, err := os.Create(filepath.Join(s.t.ArtifactDir(), name+".png"))
	testkit.Must(s.t, err)
	defer f.Close()
	testkit.Must(s.t, png.Encode(f, p))
}

// colours are how many pixels have each colour.
func colours(p *image.RGBA) map[uint32]int {
	all := map[uint32]int{}
	for i := 0; i < len(p.Pix); i += 4 {
		all[binary.LittleEndian.Uint32(p.Pix[i:])]++
	}
	return all
}

func rgb(r, g, b byte) uint32 { return binary.LittleEndian.Uint32([]byte{r, g, b, 0xff}) }

// mostly says that most of a picture has this colour.
func mostly(r, g, b byte) func(*image.RGBA) bool {
	return func(p *image.RGBA) bool { return colours(p)[rgb(r, g, b)] > len(p.Pix)/4/2 }
}

// different is how many pixels of two pictures differ.
func different(a, b *image.RGBA) (n int) {
	for i := 0; i < len(a.Pix); i += 4 {
		if binary.LittleEndian.Uint32(a.Pix[i:]) != binary.LittleEndian.Uint32(b.Pix[i:]) {
			n++
		}
	}
	return n
}

// environ is the environment of a process.
func environ(t testing.TB, pid int) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	testkit.Must(t, err)
	all := map[string]string{}
	for _, pair := range strings.Split(string(raw), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}
