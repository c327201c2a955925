package capture

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/scene"
)

// beginning is the first second of a page of text that stands still: it begins at one bitrate, and has another
// after six pictures, when a browser has reported.
func beginning(t testing.TB, first, then int) (made encoding, similar []float64) {
	t.Helper()
	text, err := scene.NewText(qualityWidth, qualityHeight)
	testkit.Must(t, err)
	p := params{width: qualityWidth, height: qualityHeight, fps: 30, bps: first}
	out := make(chan []byte, 1)
	v, err := openVideo(x264(), p, func(data []byte, _ bool, _ time.Duration) { out <- data })
	testkit.Must(t, err)
	defer v.close()
	picture := make([]byte, 4*p.width*p.height)
	text.Draw(picture, 0)
	for n := range p.fps {
		if n == 6 {
			testkit.Must(t, v.setBitrate(then))
		}
		testkit.Must(t, v.push(picture, 4*p.width, time.Duration(n)*time.Second/time.Duration(p.fps), n == 0))
		select {
		case data := <-out:
			made.packets = append(made.packets, data)
		case <-v.failed:
			t.Fatal(v.failure())
		case <-time.After(10 * time.Second):
			t.Fatal("no frame")
		}
		made.shown = append(made.shown, luma(picture, p.width, p.height))
	}
	return made, made.similar(t, decodeH264, p.width, p.height)
}

// The first picture is as large as the rate buffer, whatever it shows: a line of 2 Mbit/s carries it in 80 ms.
func TestFirstPictureFitsTheRateBuffer(t *testing.T) {
	made, _ := beginning(t, 2_000_000, 2_000_000)
	if size := len(made.packets[0]); size > 20_000 {
		t.Errorf("the first picture of text at 2 Mbit/s has %d bytes", size)
	}
}

// BenchmarkBeginning prints the first picture's size and SSIM, and the SSIM of those after it, by the bitrate at
// which a session begins and that which the line turns out to carry.
func BenchmarkBeginning(b *testing.B) {
	for _, then := range []int{2, 6} {
		for _, first := range []int{2, 3, 6} {
			made, similar := beginning(b, first*1_000_000, then*1_000_000)
			line, err := json.Marshal(map[string]any{"measure": "first_picture", "start": first, "line": then, "unit": "Mbit/s",
				"bytes": len(made.packets[0]), "ssim": map[string]string{"0": fmt.Sprintf("%.3f", similar[0]), "0.25 s": fmt.Sprintf("%.3f", similar[8]),
					"0.5 s": fmt.Sprintf("%.3f", similar[15]), "1 s": fmt.Sprintf("%.3f", similar[29])}})
			testkit.Must(b, err)
			fmt.Println(string(line))
		}
	}
}
