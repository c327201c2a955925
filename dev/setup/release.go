package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
	install "github.com/hashicorp/hc-install/releases"
)

// releases is where official releases come from.
type releases struct {
	url string // empty: releases are off
	key string // public key in ASCII armor; empty is HashiCorp's

	dial  time.Duration // to connect, name resolution included
	stall time.Duration // without a byte
	all   time.Duration // for one tool

	unavailable error // why the site cannot be reached; it is not tried again
}

const (
	releasesEnv = "NEARCAST_RELEASES_URL"
	releasesURL = "https://releases.hashicorp.com"
)

// releasesFromEnv are HashiCorp's, or what the environment says: the URL of a mirror,
// or "off" or nothing for none.
func releasesFromEnv() *releases {
	r := &releases{url: releasesURL, dial: 5 * time.Second, stall: 10 * time.Second, all: 15 * time.Minute}
	if url, ok := os.LookupEnv(releasesEnv); ok {
		r.url = strings.TrimRight(url, "/")
		if r.url == "off" {
			r.url = ""
		}
	}
	return r
}

// unavailable says why no release can be had. A tool is then built from source.
type unavailable struct{ error }

// download installs the official release of a tool. It fails with unavailable where
// there is none to be had, and otherwise where the release is not what HashiCorp
// signed.
func (f finder) download(ctx context.Context, t tool, pinned string) (_ string, err error) {
	r := f.releases
	if r.url == "" {
		return "", unavailable{fmt.Errorf("releases are turned off by %s", releasesEnv)}
	}
	if r.unavailable != nil {
		return "", unavailable{r.unavailable}
	}
	number, err := version.NewVersion(pinned)
	if err != nil || number.Metadata() != "" || number.Prerelease() != "" {
		return "", unavailable{fmt.Errorf("%s is not a released version", pinned)}
	}
	scratch, err := f.scratch(t)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)

	f.out.line("%s %s: downloading the official release from %s", t.name, pinned, r.url)
	defer f.out.end()
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{Timeout: r.dial}).DialContext,
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true, // hc-install leaves the bodies of errors open
	}
	network := &watched{base: transport, stall: r.stall, show: func(done, total int64) {
		f.out.progress("%s %s: %s %.0f of %.0f MB", t.name, pinned, bar(done, total), float64(done)/1e6, float64(total)/1e6)
	}}
	var said bytes.Buffer
	source := &install.ExactVersion{
		Product: *t.release, Version: number, InstallDir: scratch, Timeout: r.all,
		ApiBaseURL: r.url, ArmoredPublicKey: r.key, HTTPClient: &http.Client{Transport: network},
	}
	source.SetLogger(log.New(&said, "", 0))
	file, err := source.Install(ctx)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if network.failed != nil {
		err := fmt.Errorf("the release cannot be reached (%w)", network.failed)
		if !errors.As(network.failed, new(statusError)) {
			r.unavailable = err // an answer comes soon, and may differ for another tool
		}
		return "", unavailable{err}
	}
	if err != nil && network.files <= 1 { // only the index, which is not signed anyway
		return "", unavailable{fmt.Errorf("there is no usable release (%w)", err)}
	}
	if err == nil {
		// The index is not signed: it can name an older version that is.
		if got := t.installed(ctx, file); got != pinned {
			err = fmt.Errorf("it is %s", describe(got, pinned))
		}
	}
	if err != nil {
		return "", fmt.Errorf("the official release at %s is refused and not installed: %w; report this to the operator of that site, or build from source with %s=off",
			r.url, because(err, said.String()), releasesEnv)
	}
	path, err := f.keep(t, pinned, file)
	if err == nil {
		f.out.line("%s %s: official release, checksum and signature verified; kept in %s", t.name, pinned, f.dir)
	}
	return path, err
}

// because is the reason why an installation failed. hc-install 0.10.0 logs what goes
// wrong with the archive, and then loses the error while it removes the archive: what
// it returns is that there is no program to make executable (its issue 341).
func because(err error, said string) error {
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "checksum does not match") || strings.HasPrefix(line, "failed to calculate hash") {
			return errors.New(strings.TrimSpace(line))
		}
	}
	return err
}

// watched makes requests, gives up those that stall, and remembers what failed: what
// the network did is told apart from what is wrong with the files.
type watched struct {
	base   http.RoundTripper
	stall  time.Duration
	show   func(done, total int64) // progress of an archive
	files  int                     // that the site has
	failed error                   // the first failure
}

func (w *watched) fail(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if w.failed == nil {
		w.failed = err
	}
	return err
}

func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stalled := time.AfterFunc(w.stall, func() { cancel(fmt.Errorf("nothing arrives for %s", w.stall)) })
	res, err := w.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		err = w.fail(ctx, err)
		stalled.Stop()
		cancel(nil)
		return nil, err
	}
	if res.StatusCode >= 400 {
		_ = w.fail(ctx, statusError{req.URL.String(), res.Status})
	}
	if res.StatusCode == http.StatusOK {
		w.files++
	}
	body := &watchedBody{ReadCloser: res.Body, watched: w, ctx: ctx, cancel: cancel, stalled: stalled}
	if filepath.Ext(req.URL.Path) == ".zip" {
		body.total = res.ContentLength
	}
	res.Body = body
	return res, nil
}

// statusError is an answer that is no file.
type statusError struct{ url, status string }

func (e statusError) Error() string { return e.url + " answers " + e.status }

type watchedBody struct {
	io.ReadCloser
	*watched
	ctx         context.Context
	cancel      context.CancelCauseFunc
	stalled     *time.Timer
	done, total int64
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.stalled.Reset(b.stall)
	if b.done += int64(n); b.total > 0 {
		b.show(b.done, b.total)
	}
	switch err {
	case nil:
	case io.EOF:
		b.stalled.Stop()
	default:
		err = b.fail(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.stalled.Stop()
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
