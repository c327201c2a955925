package web_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// walkReact goes through the example with React: our packages as npm installs them, bundled as a
// customer does, and served by the customer's server at another origin.
func walkReact(v *visit) { walkReactOf(v, "node_modules") }

// The oldest React that the component is for.
func walkReact18(v *visit) {
	walkReactOf(v, filepath.Join("react18", "node_modules"))
}

func walkReactOf(v *visit, modules string) {
	url := startReactExample(v, modules)
	v.do(chromedp.Navigate(url))
	v.until(`document.querySelector('nearcast-player')?.token && document.querySelector('.play-button')`)
	v.script(`window.player = document.querySelector('nearcast-player')`)
	if evaluate[bool](v, `document.documentElement.outerHTML.includes(player.token)`) {
		v.Error("the token stands in the document")
	}
	v.site.mu.Lock()
	v.site.token = evaluate[string](v, `player.token`) // from now on it takes this one alone
	v.site.mu.Unlock()
	v.press(".play-button")
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: 30_000}})
	v.until(`document.querySelector('#state').textContent === 'queued' && document.querySelector('#hello').disabled`)
	v.site.serve(b, false)
	v.until(`document.querySelector('#state').textContent === 'streaming'`)
	v.site.said.say(`{"hello":"page"}`)
	v.until(`document.querySelector('#said').textContent === '{"hello":"page"}'`)
	v.press("#hello")
	v.appHas(`{"hello":"app"}`)
	v.shot("react-streaming")
	// To unmount ends the session.
	v.press("#away")
	b.hear(wire.MsgLeave)
	v.until(`document.querySelector('nearcast-player') === null && document.querySelector('#state').textContent === 'ended: left'`)
}

// startReactExample builds web/examples/react with the React of a folder of the project, and
// starts its server.
func startReactExample(v *visit, modules string) (url string) {
	project := npmProject(v)
	if _, err := exec.LookPath("node"); err != nil {
		v.Skip("node is not installed: THE REACT EXAMPLE DID NOT RUN")
	}
	folder, err := filepath.Abs(filepath.Join("examples", "react"))
	testkit.Must(v, err)
	dist := v.TempDir()
	bundlePage(v, project, filepath.Join(folder, "page.jsx"), dist, reactOf(project, modules))
	_, key, err := ed25519.GenerateKey(rand.Reader)
	testkit.Must(v, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.Must(v, err)
	file := filepath.Join(v.TempDir(), "shop.pem")
	testkit.Must(v, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	port := testkit.Ports(v, 1)[0]
	server := exec.Command("node", filepath.Join(folder, "server.mjs"))
	server.Env = append(os.Environ(), "NEARCAST_URL="+v.site.server.URL, "NEARCAST_APP=viewer", "NEARCAST_KEY="+file,
		"NEARCAST_KEY_ID=3f1c9a7d20b4e865", fmt.Sprint("PORT=", port), "DIST="+dist)
	testkit.Start(v, server)
	url = fmt.Sprint("http://127.0.0.1:", port)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	testkit.Until(v, "the server of the example answers", func() bool {
		res, err := client.Get(url)
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return url
}
