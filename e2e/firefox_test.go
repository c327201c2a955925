package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/firefox"
)

// pastesAndCopies runs beside the test app: it says what was pasted, and copies something else.
const pastesAndCopies = `until got=$(xclip -selection clipboard -o 2>/dev/null); do sleep 0.1; done
	echo "pasted: $got"
	printf 'from the app é' | xclip -selection clipboard -i`

// A person plays in Firefox: picture, keys, clipboard both ways, the size of the window, the end. Where this Firefox
// does not decode H.264, the job has VP8, and a job with H.264 says what to do.
func TestInFirefox(t *testing.T) {
	if _, err := exec.LookPath("xclip"); err != nil {
		t.Skip("xclip is not installed")
	}
	fox := firefox.Start(t)
	ctx := testkit.Context(t, time.Minute)
	page, err := fox.Open(ctx, "about:blank")
	testkit.Must(t, err)
	var codecs string
	testkit.Must(t, page.Eval(ctx, `[...new Set(RTCRtpReceiver.getCapabilities('video').codecs.map(({ mimeType }) => mimeType))].join()`, &codecs))
	t.Logf("this Firefox decodes %s", codecs)
	codec := "vp8"
	if strings.Contains(codecs, "video/H264") {
		codec = "h264"
	} else {
		t.Run("without H.264", func(t *testing.T) {
			app := runApp(ctx, t, map[string]string{"max": "1"})
			testkit.Must(t, page.Go(ctx, site.URL+"/play/"+app))
			testkit.Must(t, page.Click(ctx, ".play-button"))
			if text := ended(ctx, t, page); !strings.Contains(text, "It does not decode H.264") || !strings.Contains(text, "OpenH264") {
				t.Errorf("the screen says %q", text)
			}
		})
	}

	app := runApp(ctx, t, map[string]string{"codec": codec, "script": pastesAndCopies, "clipboard": "both", "display_max": "1600x1280", "max": "1"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	testkit.Must(t, page.Go(ctx, site.URL+"/play/"+app))
	play(ctx, t, page)
	sized := func(width, height int) string {
		return fmt.Sprintf("(({ videoWidth, videoHeight }) => videoWidth === %d && videoHeight === %d)(document.querySelector('video'))", width, height)
	}
	testkit.Must(t, page.Until(ctx, sized(1280, 800)))
	testkit.Must(t, page.Until(ctx, fmt.Sprintf("nearcast.stats().then(({ codec }) => codec === %q)", strings.ToUpper(codec))))
	testkit.Must(t, page.Until(ctx, centre+" < 40"))

	testkit.Must(t, page.Press(ctx, "a"))
	testkit.Must(t, page.Until(ctx, centre+" > 200"))
	testkit.Must(t, page.Press(ctx, "é"))
	appOutput(ctx, t, app, `"text":"é"`)

	testkit.Must(t, page.Eval(ctx, `navigator.clipboard.writeText('Grüße 😀').then(() => true)`, nil))
	testkit.Must(t, page.Press(ctx, firefox.Control, "v"))
	appOutput(ctx, t, app, "pasted: Grüße 😀")
	testkit.Must(t, page.Until(ctx, `navigator.clipboard.readText().then((text) => text === 'from the app é')`))

	testkit.Must(t, page.Resize(ctx, browser.Size{Width: 500, Height: 600}, 2))
	testkit.Must(t, page.Until(ctx, sized(1000, 1200)))

	leave(ctx, t, page)
	if text := ended(ctx, t, page); !strings.Contains(strings.ToLower(text), "ended") {
		t.Errorf("the screen after leaving says %q", text)
	}
	testkit.Must(t, page.Close(ctx))
}
