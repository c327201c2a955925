package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/firefox"
	"github.com/nearcast/nearcast/internal/wire"
)

// fetchClip asks the page for a kind that it offered, a window of chunks at a time, and
// gives it.
func (v *visit) fetchClip(o *wire.ClipOffer, kind wire.ClipKind) (all []byte) {
	v.Helper()
	for asked := 0; len(all) < o.Size(kind); {
		for ; asked < o.Size(kind) && asked-len(all) < 32*wire.MaxClipChunk; asked += wire.MaxClipChunk {
			v.say(wire.ClipAsk{ID: o.ID, Kind: kind, At: asked, Size: min(wire.MaxClipChunk, o.Size(kind)-asked)})
		}
		m := v.nextClip()
		if m.IsString || len(m.Data) == 0 || len(m.Data) > wire.MaxClipChunk {
			v.Fatalf("a chunk of %s is %d bytes, text %v", kind, len(m.Data), m.IsString)
		}
		all = append(all, m.Data...)
	}
	return all
}

func (v *visit) say(a wire.ClipAsk) {
	v.Helper()
	raw, err := json.Marshal(a)
	if err == nil {
		err = v.site.clip.Load().SendText(string(raw))
	}
	if err != nil {
		v.Fatal(err)
	}
}

func (v *visit) nextClip() webrtc.DataChannelMessage {
	v.Helper()
	select {
	case m := <-v.site.clips:
		return m
	case <-time.After(patience):
		v.Fatal("nothing came on the channel of clipboards")
		panic("unreachable")
	}
}

// giveClips answers what the page asks for, until it has asked for all.
func (v *visit) giveClips(id uint32, kinds map[wire.ClipKind][]byte) {
	v.Helper()
	left := 0
	for _, data := range kinds {
		left += len(data)
	}
	for left > 0 {
		m := v.nextClip()
		var a wire.ClipAsk
		d := json.NewDecoder(bytes.NewReader(m.Data))
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil || a.ID != id || a.Size <= 0 || a.Size > wire.MaxClipChunk {
			v.Fatalf("the page asks %q (%v)", m.Data, err)
		}
		if err := v.site.clip.Load().Send(kinds[a.Kind][a.At : a.At+a.Size]); err != nil {
			v.Fatal(err)
		}
		left -= a.Size
	}
}

// pastes presses Control+V as a browser does: with a paste event of its own clipboard.
func (v *visit) pastes() (wire.Input, string) {
	v.Helper()
	if v.fox != nil {
		testkit.Must(v, v.fox.Press(v.ctx, firefox.Control, "v"))
		return v.pasted()
	}
	const ctrl = 2
	key := func(kind input.DispatchKeyEventType, code, name string, number int64, modifiers int64, commands ...string) {
		v.Helper()
		command(v, input.DispatchKeyEvent, input.DispatchKeyEventParams{
			Type: kind, Code: code, Key: name, WindowsVirtualKeyCode: number, Modifiers: modifiers, Commands: commands})
	}
	key(input.DispatchKeyEventTypeRawKeyDown, "ControlLeft", "Control", 17, ctrl)
	key(input.DispatchKeyEventTypeRawKeyDown, "KeyV", "v", 86, ctrl, "Paste")
	key(input.DispatchKeyEventTypeKeyUp, "KeyV", "v", 86, ctrl)
	key(input.DispatchKeyEventTypeKeyUp, "ControlLeft", "Control", 17, 0)
	return v.pasted()
}

// pasted is what the app gets of a paste, and the keys after it.
func (v *visit) pasted() (wire.Input, string) {
	v.Helper()
	got := v.site.wantInput("what is pasted", func(in wire.Input) bool {
		if in.Type == wire.InputKey && in.Code == "KeyV" {
			v.Error("the key came before what it pastes")
		}
		return in.Type == wire.InputClip && !in.More
	})
	return got, v.typed()
}

// holdsPictures is false for a headless Firefox, whose clipboard takes pictures and drops them.
func (v *visit) holdsPictures() bool { return v.fox == nil || v.display != "" }

// pastesAll pastes text, HTML and the picture in window.picture. Where the clipboard holds no pictures the paste event is
// the test's own.
func (v *visit) pastesAll() wire.Input {
	v.Helper()
	if v.holdsPictures() {
		in, _ := v.pastes()
		return in
	}
	v.script(`const data = new DataTransfer(), paste = new Event('paste', { bubbles: true, cancelable: true });
		data.setData('text/plain', 'plain é');
		data.setData('text/html', '<b>bold é</b>');
		data.items.add(new File([window.picture], 'picture.png', { type: 'image/png' }));
		Object.defineProperty(paste, 'clipboardData', { value: data });
		document.activeElement.dispatchEvent(paste)`)
	in, _ := v.pasted()
	return in
}

// noise is a real PNG of about so many bytes.
func noise(v *visit, size int) []byte {
	v.Helper()
	side := 8
	for side*side*4 < size {
		side++
	}
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range m.Pix {
		m.Pix[i] = byte(rand.Uint32())
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		v.Fatal(err)
	}
	return b.Bytes()
}

// walkClipKinds pastes and copies HTML and pictures, with the browser's own clipboard.
func walkClipKinds(v *visit) {
	v.allowClipboard()
	v.playWith(func(d *wire.Display) { d.Clipboard = wire.ClipboardBoth })
	const copies = `new Promise((done) => {
		const canvas = document.createElement('canvas');
		canvas.width = %d; canvas.height = %d;
		const context = canvas.getContext('2d');
		const pixels = context.createImageData(canvas.width, canvas.height);
		for (let i = 0; i < pixels.data.length; i += 65536) crypto.getRandomValues(pixels.data.subarray(i, i + 65536));
		for (let i = 3; i < pixels.data.length; i += 4) pixels.data[i] = 255;
		context.putImageData(pixels, 0, 0);
		canvas.toBlob(done, 'image/png');
	}).then((blob) => (window.picture = blob, navigator.clipboard.write([new ClipboardItem({
		'text/plain': new Blob(['plain é'], { type: 'text/plain' }), 'text/html': new Blob(['<b>bold é</b>'], { type: 'text/html' }), 'image/png': blob,
	})]))).then(() => true)`
	evaluate[bool](v, fmt.Sprintf(copies, 1200, 1000))
	in, keys := v.pastes()
	if in.Text != "plain é" || in.Offer == nil {
		v.Fatalf("the app was offered %q and %+v", in.Text, in.Offer)
	}
	if keys != "+KeyV:v -KeyV:v -ControlLeft:Control" {
		v.Errorf("then came %s, before anything was fetched", keys)
	}
	if html := string(v.fetchClip(in.Offer, wire.ClipHTML)); !strings.Contains(html, ">bold é</b>") || !strings.Contains(html, "charset=utf-8") {
		v.Errorf("the app got the HTML %q", html)
	}
	if !v.holdsPictures() {
		in = v.pastesAll()
	}
	data := v.fetchClip(in.Offer, wire.ClipPNG)
	if picture, err := png.Decode(bytes.NewReader(data)); err != nil || picture.Bounds().Dx() != 1200 || !wire.ClipPNG.Valid(data) {
		v.Errorf("the app got a picture of %d bytes that is none (%v)", len(data), err)
	}
	v.Logf("a picture of %d bytes was pasted", len(data))
	// A picture above the limit stays, and the person is told.
	evaluate[bool](v, fmt.Sprintf(copies, 2000, 1500))
	if in = v.pastesAll(); in.Text != "plain é" || in.Offer == nil || in.Offer.PNG != 0 || in.Offer.HTML == 0 {
		v.Errorf("of a picture that is too large the app was offered %+v", in.Offer)
	}
	v.untilText("What you copied is too large")

	// What the app copies: the browser cleans HTML, and reads the picture.
	if !v.holdsPictures() {
		v.script(`const { clipboard } = navigator, { write } = Clipboard.prototype;
			clipboard.write = (items) => { [window.wrote] = items; return write.call(clipboard, items); }`)
	}
	big := noise(v, 7<<20)
	kinds := map[wire.ClipKind][]byte{
		wire.ClipHTML: []byte(`<b>from the app</b><script>window.hurt = 1</script><img src=x onerror="window.hurt = 1">`),
		wire.ClipPNG:  big,
	}
	v.site.say(wire.Clip{Type: "clip", Text: "from the app", Offer: &wire.ClipOffer{ID: 1, HTML: len(kinds[wire.ClipHTML]), PNG: len(big)}})
	v.giveClips(1, kinds)
	const read = `navigator.clipboard.read().then(([item]) => item.types.includes(%q) ? item.getType(%[1]q) : null)`
	picture := fmt.Sprintf(read, "image/png")
	if !v.holdsPictures() {
		picture = `wrote.getType('image/png')`
	}
	v.until(fmt.Sprintf(read+`.then((b) => b?.text()).then((text) => text === 'from the app')`, "text/plain"))
	v.until(picture) // the text does not wait for it
	v.until(fmt.Sprintf(read, "text/html"))
	html := evaluate[string](v, fmt.Sprintf(read+`.then((b) => b.text())`, "text/html"))
	if !strings.Contains(html, "from the app</b>") || strings.Contains(html, "script") || strings.Contains(html, "onerror") {
		v.Errorf("the person's clipboard has the HTML %q", html)
	}
	width := evaluate[int](v, picture+`.then((b) => createImageBitmap(b)).then((m) => m.width)`)
	if want, _ := png.DecodeConfig(bytes.NewReader(big)); width != want.Width {
		v.Errorf("the person's picture is %d pixels wide, want %d", width, want.Width)
	}
	if evaluate[bool](v, `Boolean(window.hurt) || document.body.innerHTML.includes('from the app')`) {
		v.Error("the app's HTML is in the page")
	}
	// What says that it is a picture and is none is not put there; the text is.
	fake := []byte("<p>this is no picture, whatever it says</p>")
	v.site.say(wire.Clip{Type: "clip", Text: "caption", Offer: &wire.ClipOffer{ID: 2, PNG: len(fake)}})
	v.giveClips(2, map[wire.ClipKind][]byte{wire.ClipPNG: fake})
	v.until(`navigator.clipboard.read().then(([item]) => item.getType('text/plain').then((b) => b.text()).then((text) => text === 'caption' && !item.types.includes('image/png')))`)

	if v.fox == nil {
		walkClipPermission(v)
	}
}

// walkClipPermission has a browser that keeps its clipboard: the person sees what to do.
func walkClipPermission(v *visit) {
	v.Helper()
	type permission struct {
		Name string `json:"name"`
	}
	type setting struct {
		Permission permission `json:"permission"`
		Setting    string     `json:"setting"`
	}
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		command(v, cdp.Command[setting, json.RawMessage]{Method: "Browser.setPermission"}, setting{permission{name}, "denied"})
	}
	defer v.allowClipboard()
	v.site.say(wire.Clip{Type: "clip", Text: "kept back"})
	v.untilText("Your browser keeps your clipboard from this page")
	v.shot("clipboard-denied")
	v.script(`document.querySelector('.tab').click(); document.querySelector('[aria-label="Paste into the app"]').click()`)
	v.untilText("Your browser did not give your clipboard")
	v.allowClipboard()
	// The next key has the browser take it. Then the button pastes it.
	v.until(`(document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { bubbles: true, cancelable: true, code: 'F8', key: 'F8' })),
		navigator.clipboard.readText().then((text) => text === 'kept back'))`)
	v.typed()
	v.script(`document.querySelector('[aria-label="Paste into the app"]').click()`)
	v.site.wantInput("the text", func(in wire.Input) bool { return in.Type == wire.InputClip && in.Text == "kept back" })
	if got := v.typed(); got != "+ControlLeft:Control +KeyV:v -KeyV:v -ControlLeft:Control" {
		v.Errorf("the button then pressed %s", got)
	}
}
