package lmtp

// decoder takes the message out of what follows DATA: up to the CRLF.CRLF that alone ends it, with dots
// unstuffed (RFC 5321 section 4.5.2). A bare LF is no line's end here, so that what stands behind one is
// never taken for the end, or for a stuffed dot; in the message it becomes CRLF, as from Dovecot. A bare CR stays.
type decoder struct{ at position }

// position is what came last.
type position uint8

const (
	lineStart position = iota // CRLF, or nothing
	within                    // something else
	afterCR
	afterDot   // a dot that began the line
	afterDotCR // and a CR
)

// decode appends what in holds of the message to out. used is what it took of in; done tells that the end
// of the message was the last of it.
func (d *decoder) decode(out, in []byte) (message []byte, used int, done bool) {
	for i, b := range in {
		switch d.at {
		case afterDotCR:
			if b == '\n' {
				d.at = lineStart
				return out, i + 1, true
			}
			out = append(out, '\r') // the dot was stuffed
			d.at = afterCR
			if b == '\r' {
				continue
			}
			d.at = within
		case afterDot:
			switch b {
			case '\r':
				d.at = afterDotCR
				continue
			}
			d.at = within // the dot was stuffed
		case afterCR:
			if b == '\n' {
				out = append(out, '\r', '\n')
				d.at = lineStart
				continue
			}
			out = append(out, '\r')
			d.at = within
		case lineStart:
			d.at = within
			if b == '.' {
				d.at = afterDot
				continue
			}
		}
		switch b {
		case '\r':
			d.at = afterCR
		case '\n':
			out = append(out, '\r', '\n')
		default:
			out = append(out, b)
		}
	}
	return out, len(in), false
}
