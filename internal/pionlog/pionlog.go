// Package pionlog passes the messages of pion's libraries to slog, at debug level: nearly
// all are about what strangers send, or about packets of a browser that left.
//
//	settings.LoggerFactory = pionlog.To(log)
package pionlog

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// To makes the loggers of pion's libraries; each has the scope of its part.
func To(log *slog.Logger) logging.LoggerFactory { return loggers{log} }

type loggers struct{ log *slog.Logger }

func (l loggers) NewLogger(scope string) logging.LeveledLogger {
	return logger{l.log.With("scope", scope)}
}

type logger struct{ log *slog.Logger }

func (l logger) say(format string, args []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l logger) Trace(string)              {}
func (l logger) Tracef(string, ...any)     {}
func (l logger) Debug(string)              {}
func (l logger) Debugf(string, ...any)     {}
func (l logger) Info(msg string)           { l.log.Debug(msg) }
func (l logger) Infof(f string, a ...any)  { l.say(f, a) }
func (l logger) Warn(msg string)           { l.log.Debug(msg) }
func (l logger) Warnf(f string, a ...any)  { l.say(f, a) }
func (l logger) Error(msg string)          { l.log.Debug(msg) }
func (l logger) Errorf(f string, a ...any) { l.say(f, a) }
