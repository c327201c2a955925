package scene

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoViewer says that the sample viewer, its model or Xvfb is not installed.
var ErrNoViewer = errors.New("the model needs Debian's packages f3d, assimp-testmodels and xvfb")

const modelFile = "/usr/share/assimp/models/glTF2/2CylinderEngine-glTF-Binary/2CylinderEngine.glb" // as dev/samples.go

// Model records pictures of 1280x720 of the sample viewer, in which a model turns by 1.5
// degrees from one to the next. The viewer takes seconds for each: it keeps them in a
// folder, and takes those that are there.
func Model(ctx context.Context, dir string, n int) (pictures [][]byte, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for pictures of the model: %w", err)
	}
	display := ""
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("model-%03d.png", i))
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			if display == "" {
				name, stop, err := openDisplay(ctx)
				if err != nil {
					return nil, err
				}
				defer stop()
				display = name
			}
			if err := view(ctx, display, dir, file, 1.5*float64(i)); err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, fmt.Errorf("look for a picture of the model: %w", err)
		}
		p, err := readPNG(file)
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, p)
	}
	return pictures, nil
}

// view writes one picture. The file is whole or not there.
func view(ctx context.Context, display, dir, file string, degrees float64) error {
	part := filepath.Join(dir, "part.png")
	cmd := exec.CommandContext(ctx, "f3d", "--resolution=1280,720", "--bg-color=0.13,0.14,0.17", "--grid", "--axis", "--tone-mapping",
		"--fxaa", fmt.Sprintf("--camera-azimuth-angle=%.1f", degrees), "--camera-elevation-angle=25", "--output="+part, modelFile)
	cmd.Env = append(os.Environ(), "DISPLAY="+display, "HOME="+dir)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("view the model: %w: %s", err, text)
	}
	return os.Rename(part, file)
}

// openDisplay starts an Xvfb for the viewer.
func openDisplay(ctx context.Context) (name string, stop func(), err error) {
	if _, err := os.Stat(modelFile); err != nil {
		return "", nil, ErrNoViewer
	}
	for _, program := range []string{"f3d", "Xvfb"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", nil, ErrNoViewer
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", nil, fmt.Errorf("make a pipe for Xvfb: %w", err)
	}
	defer r.Close()
	server := exec.CommandContext(ctx, "Xvfb", "-displayfd", "3", "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset")
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) } // so that it removes its socket
	server.ExtraFiles = []*os.File{w}
	err = server.Start()
	w.Close()
	if err != nil {
		return "", nil, fmt.Errorf("start Xvfb: %w", err)
	}
	stop = func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait() // the status is that of the signal
	}
	_ = r.SetReadDeadline(time.Now().Add(time.Minute)) // a pipe has deadlines
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("wait for Xvfb: %w", err)
	}
	return ":" + strings.TrimSpace(number), stop, nil
}

// readPNG reads a picture as BGRx.
func readPNG(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open picture: %w", err)
	}
	defer f.Close()
	decoded, err := png.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", file, err)
	}
	rgba := image.NewRGBA(image.Rect(0, 0, decoded.Bounds().Dx(), decoded.Bounds().Dy()))
	draw.Draw(rgba, rgba.Bounds(), decoded, decoded.Bounds().Min, draw.Src)
	for i := 0; i < len(rgba.Pix); i += 4 {
		rgba.Pix[i], rgba.Pix[i+2] = rgba.Pix[i+2], rgba.Pix[i]
	}
	return rgba.Pix, nil
}
