package seat

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// lacking is the error of a peer whose browser does not decode a codec.
type lacking string

func (l lacking) Error() string        { return "no " + string(l) }
func (l lacking) MissingCodec() string { return string(l) }

// A person whose browser lacks the codec reads which, and what Firefox needs for H.264.
func TestOfferProblem(t *testing.T) {
	if p := offerProblem(errors.New("damaged")); p.Title != "The offer cannot be answered" || p.Status != 422 {
		t.Errorf("a damaged offer: %+v", p)
	}
	for codec, want := range map[string]string{"h264": "Firefox does so by its plugin OpenH264", "vp8": "It does not decode VP8."} {
		p := offerProblem(fmt.Errorf("answer: %w", lacking(codec)))
		if p.Title != "Your browser cannot show this app's video" || !strings.Contains(p.Detail, want) {
			t.Errorf("without %s: %+v", codec, p)
		}
	}
}
