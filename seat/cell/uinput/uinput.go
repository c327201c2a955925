// Package uinput makes the gamepads of a seat as devices of the kernel, where the node has
// the module uinput and its operator wants that. Only root can; so the keeper has the
// devices, and passes on events:
//
//	d, err := uinput.Make(0)
//	… // the cell gets a file for d.Number
//	go d.Serve(conn) // until the stream host closes its end
//	…
//	d.Close()
//
// To the stream host, the connection is that of a program which has the gamepad open
// (seat/gamepad). From it come events of buttons and axes alone, and the kernel takes
// only those that the device has.
//
// Make was not run: no machine of the project has uinput. What passes on events was
// tested with a stand-in for the kernel's device.
package uinput

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell/evdev"
)

// path is the kernel's device by which others are made.
const path = "/dev/uinput"

// Requests of linux/uinput.h on 64-bit machines.
const (
	create      = 0x5501
	setup       = 0x405c5503
	setupAxis   = 0x401c5504
	setKind     = 0x40045564
	setKey      = 0x40045565
	setAxis     = 0x40045567
	setFF       = 0x4004556b
	getName     = 0x8040552c // of at most 64 bytes
	beginUpload = 0xc06855c8
	endUpload   = 0x406855c9
	beginErase  = 0xc00c55ca
	endErase    = 0x400c55cb
)

// The kernel asks by such events for effects to be stored, and to be forgotten.
const (
	kindUinput = 0x0101
	codeUpload = 1
	codeErase  = 2

	uploadSize = 104 // of a struct uinput_ff_upload, whose effect begins at effectAt
	effectAt   = 8
	eraseSize  = 12 // of a struct uinput_ff_erase, whose effect's id is at eraseAt
	eraseAt    = 8
)

// Kernel is the file by which a device was made.
type Kernel interface {
	io.ReadWriteCloser
	// Ioctl reads and writes data, or with nil has the value.
	Ioctl(request uint, value int, data []byte) error
}

// Device is one gamepad.
type Device struct {
	// Number is that of its device file.
	Number uint64
	Kernel Kernel
}

// Make makes a gamepad. It is there until Close, or the end of this process.
func Make(index int) (*Device, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := &Device{Kernel: file{f}}
	if err := d.make(index); err != nil {
		return nil, errors.Join(fmt.Errorf("make a gamepad by %s: %w", path, err), f.Close())
	}
	return d, nil
}

func (d *Device) make(index int) error {
	var errs []error
	set := func(request uint, code int) { errs = append(errs, d.Kernel.Ioctl(request, code, nil)) }
	for _, kind := range []int{evdev.Key, evdev.Abs, evdev.FF} {
		set(setKind, kind)
	}
	for _, b := range evdev.Buttons {
		set(setKey, int(b.Code))
	}
	set(setFF, evdev.Rumble)
	for _, a := range evdev.Axes {
		set(setAxis, int(a.Code))
		errs = append(errs, d.Kernel.Ioctl(setupAxis, 0, append(binary.NativeEndian.AppendUint16(nil, a.Code), append(make([]byte, 2), a.Info(0)...)...)))
	}
	var what []byte
	for _, v := range evdev.ID {
		what = binary.NativeEndian.AppendUint16(what, v)
	}
	what = append(what, make([]byte, 80)...)
	copy(what[8:], evdev.Name)
	what = binary.NativeEndian.AppendUint32(what, evdev.MaxEffects)
	errs = append(errs, d.Kernel.Ioctl(setup, 0, what), d.Kernel.Ioctl(create, 0, nil))
	name := make([]byte, 64)
	if err := errors.Join(append(errs, d.Kernel.Ioctl(getName, 0, name))...); err != nil {
		return err
	}
	var err error
	d.Number, err = number(filepath.Join("/sys/class/input", unix.ByteSliceToString(name)))
	return err
}

// number is that of the event device of an input device, which sysfs describes in dir.
func number(dir string) (uint64, error) {
	found, err := filepath.Glob(filepath.Join(dir, "event*", "dev"))
	if err != nil || len(found) != 1 {
		return 0, fmt.Errorf("%s names %d event devices, want one", dir, len(found))
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return 0, err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("%s: %w", found[0], err)
	}
	return unix.Mkdev(major, minor), nil
}

// Serve passes on events between the device and the stream host, until either is closed.
// It closes the connection.
func (d *Device) Serve(conn *net.UnixConn) {
	up := make(chan struct{})
	go func() {
		defer close(up)
		defer conn.Close()
		d.fromKernel(conn)
	}()
	defer func() { <-up }()
	defer d.Kernel.Close() // ends the reading
	defer conn.Close()
	b := make([]byte, evdev.Size)
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		switch evdev.Read(b).Kind {
		case evdev.Syn, evdev.Key, evdev.Abs:
			if _, err := d.Kernel.Write(b); err != nil {
				return
			}
		}
	}
}

// fromKernel tells the stream host of effects.
func (d *Device) fromKernel(conn io.Writer) {
	b := make([]byte, 16*evdev.Size)
	for {
		n, err := d.Kernel.Read(b)
		if err != nil {
			return
		}
		for rest := b[:n]; len(rest) >= evdev.Size; rest = rest[evdev.Size:] {
			e := evdev.Read(rest)
			var say []byte
			switch {
			case e.Kind == evdev.FF:
				say = rest[:evdev.Size]
			case e.Kind == kindUinput && e.Code == codeUpload:
				say, err = d.stored(beginUpload, endUpload, uploadSize, e.Value, func(data []byte) []byte {
					return evdev.AppendRequest(nil, evdev.SetEffect, data[effectAt:effectAt+evdev.EffectSize])
				})
			case e.Kind == kindUinput && e.Code == codeErase:
				say, err = d.stored(beginErase, endErase, eraseSize, e.Value, func(data []byte) []byte {
					return evdev.AppendRequest(nil, evdev.DropEffect, data[eraseAt:eraseAt+4])
				})
			}
			if err == nil && len(say) > 0 {
				_, err = conn.Write(say)
			}
			if err != nil {
				return
			}
		}
	}
}

// stored answers the kernel's request of this number, whose program waits meanwhile, and
// gives what the stream host is told of it.
func (d *Device) stored(begin, end uint, size int, request int32, tell func(data []byte) []byte) ([]byte, error) {
	data := make([]byte, size)
	binary.NativeEndian.PutUint32(data, uint32(request))
	if err := d.Kernel.Ioctl(begin, 0, data); err != nil {
		return nil, err
	}
	say := tell(data)
	binary.NativeEndian.PutUint32(data[4:], 0) // it is stored
	return say, d.Kernel.Ioctl(end, 0, data)
}

// Close takes the device away.
func (d *Device) Close() error { return d.Kernel.Close() }

// file is /dev/uinput.
type file struct{ *os.File }

// Ioctl is a Kernel's.
func (f file) Ioctl(request uint, value int, data []byte) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		if data != nil {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(unsafe.Pointer(&data[0])))
		} else {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(value))
		}
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}
