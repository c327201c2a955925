package web_test

import (
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// asked is what the browser asks before it leaves a page.
func (v *visit) asked() <-chan struct{} {
	v.Helper()
	if v.fox != nil {
		return v.fox.Questions()
	}
	questions := make(chan struct{}, 8)
	err := chromedp.Listen(v.ctx, func(event any) {
		if e, ok := event.(*page.EventJavascriptDialogOpening); ok && e.Type == page.DialogTypeBeforeunload {
			questions <- struct{}{}
		}
	})
	if err != nil {
		v.Fatal(err)
	}
	return questions
}

// walkWindow is a person whose display follows their window, with an app of two windows
// in which work can be lost.
func walkWindow(v *visit) {
	questions := v.asked()
	v.scaled(1280, 800, 2)
	v.open("/play/viewer")
	v.press(".play-button")
	b := v.site.nextBrain()
	if want := (wire.View{Width: 2560, Height: 1600, Scale: 2}); b.hello.View == nil || *b.hello.View != want {
		v.Errorf("hello says that the window is %+v, want %+v", b.hello.View, want)
	}
	g := v.site.grant(false)
	g.Display.MaxWidth, g.Display.MaxHeight, g.ConfirmLeave = 3840, 2160, true
	b.say(wire.Message{Type: wire.MsgGranted, Grant: g})
	v.site.answer(b, b.hello.SDP)
	v.state("streaming")

	view := func(what string, width, height int, scale float64) {
		v.Helper()
		begin := time.Now()
		v.site.wantInput(what, func(in wire.Input) bool {
			return in.Type == wire.InputView && in.View != nil && *in.View == wire.View{Width: width, Height: height, Scale: scale}
		})
		v.Logf("%s is told after %v", what, time.Since(begin).Round(time.Millisecond))
	}
	view("the first window", 2560, 1600, 2)
	v.scaled(1000, 700, 2)
	view("a resize", 2000, 1400, 2)
	v.scaled(390, 844, 3)
	view("a turned phone", 1170, 2532, 3)
	// A window of odd sides: no pixel of the picture is stretched over more than one.
	v.until(`document.querySelector('video').videoWidth === 1280`)
	v.scaled(1281, evaluate[int64](v, `document.querySelector('video').videoHeight`)+1, 1)
	v.until(`(video => {
		const { left, top, width, height } = video.getBoundingClientRect();
		return left === 0 && top === 0 && width === video.videoWidth && height === video.videoHeight;
	})(document.querySelector('video'))`)
	v.size(1280, 800)
	view("another screen", 1280, 800, 1)

	const shut = `document.querySelector('.tool.shut')`
	v.until(shut + `.hidden`)
	b.say(wire.Message{Type: wire.MsgWindows, Windows: 2})
	v.until(`!` + shut + `.hidden`)
	v.script(`document.querySelector('.tab').click()`)
	v.press(".tool.shut")
	v.site.wantInput("the close of a window", func(in wire.Input) bool { return in.Type == wire.InputClose })
	b.say(wire.Message{Type: wire.MsgWindows, Windows: 1})
	v.until(shut + `.hidden`)

	// The browser asks, and the person stays. Older ones ask only for a returnValue.
	v.until(`(event => {
		event.initEvent('beforeunload', false, true);
		window.dispatchEvent(event);
		return event.returnValue === 'true';
	})(document.createEvent('BeforeUnloadEvent'))`)
	v.script(`setTimeout(() => { location.href = '/' }, 0)`)
	answer := func(leave bool) {
		v.Helper()
		select {
		case <-questions:
		case <-time.After(patience):
			v.Fatal("the browser does not ask before the page is left")
		}
		if v.fox != nil {
			testkit.Must(v, v.fox.Answer(v.ctx, leave))
			return
		}
		command(v, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: leave})
	}
	answer(false)
	v.state("streaming")

	// They leave by mistake, and their tab has forgotten: the home page knows.
	// It also knows of an app that it does not list, as it needs a launch token.
	v.script(`sessionStorage.clear();
		localStorage.setItem('nearcast:held:signed', localStorage.getItem('nearcast:held:viewer'));
		setTimeout(() => { location.href = '/' }, 0)`)
	answer(true)
	v.untilText("Continue your session")
	v.until(`document.querySelector('.card[href="/play/signed#resume"]') !== null`)
	v.shot("home-held")
	v.script(`localStorage.removeItem('nearcast:held:signed')`)
	v.press(`.card[href="/play/viewer#resume"]`)
	b = v.site.nextBrain()
	if b.hello.Resume != "resume" {
		v.Errorf("hello from the home page = %+v, want resume", b.hello)
	}
	v.site.serve(b, true)
	v.state("streaming")
	if hash := evaluate[string](v, `location.hash`); hash != "" {
		v.Errorf("the address ends with %q", hash)
	}
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLeft}})
	v.state("ended")
	v.open("/")
	v.untilText("Ready now")
	if evaluate[bool](v, `document.body.innerText.includes('Continue your session')`) {
		v.Error("a session that has ended is offered")
	}
}
