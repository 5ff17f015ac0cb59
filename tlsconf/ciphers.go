package tlsconf

import (
	"crypto/tls"
	"slices"
	"strings"
)

// dovecotCiphers is Dovecot's default ssl_cipher_list. It stands for our own choice, which is narrower.
const dovecotCiphers = "ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH"

var (
	// modern are the TLS 1.2 suites with forward secrecy and authenticated encryption.
	modern = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	// old are what TLS 1.0 and 1.1 have, once ssl_min_protocol allows them.
	old = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	}
)

// suite is a cipher suite under its OpenSSL name with the keywords that mean it. byName suites come
// only when they are named in full: no keyword brings back RSA key exchange or CBC with SHA-2.
type suite struct {
	id       uint16
	name     string
	keywords string
	byName   bool
}

var suites = []suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE ECDSA AES AES128 AESGCM SHA256 TLSv1.2", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE aRSA AES AES128 AESGCM SHA256 TLSv1.2", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE ECDSA AES AES256 AESGCM SHA384 TLSv1.2", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE aRSA AES AES256 AESGCM SHA384 TLSv1.2", false},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE ECDSA CHACHA20 TLSv1.2", false},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE aRSA CHACHA20 TLSv1.2", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", "ECDHE ECDSA AES AES128 SHA TLSv1", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", "ECDHE aRSA AES AES128 SHA TLSv1", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", "ECDHE ECDSA AES AES256 SHA TLSv1", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", "ECDHE aRSA AES AES256 SHA TLSv1", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", "", true},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", "", true},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", "", true},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", "", true},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", "", true},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", "", true},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", "", true},
}

// aliases are OpenSSL's other names of keywords.
var aliases = map[string]string{
	"ALL": "ECDHE", "DEFAULT": "ECDHE", "HIGH": "ECDHE",
	"EECDH": "ECDHE", "kEECDH": "ECDHE", "kECDHE": "ECDHE",
	"aECDSA": "ECDSA", "SHA1": "SHA", "TLSv1.0": "TLSv1", "SSLv3": "TLSv1",
}

// empty are keywords of which no suite is left; they select nothing, and nobody misses it.
var empty = map[string]bool{
	"kRSA": true, "RSA": true, "DHE": true, "EDH": true, "kDHE": true, "kEDH": true, "DH": true, "ADH": true, "AECDH": true,
	"aNULL": true, "eNULL": true, "NULL": true, "aDSS": true, "DSS": true, "kDHd": true, "kDHr": true, "kDH": true, "aDH": true,
	"kECDH": true, "kECDHe": true, "kECDHr": true, "aECDH": true, "ECDH": true,
	"SRP": true, "kSRP": true, "PSK": true, "kPSK": true, "aPSK": true, "kRSAPSK": true, "kDHEPSK": true, "kECDHEPSK": true,
	"EXP": true, "EXPORT": true, "EXPORT40": true, "EXPORT56": true, "LOW": true, "MEDIUM": true,
	"DES": true, "3DES": true, "RC2": true, "RC4": true, "IDEA": true, "SEED": true, "MD5": true,
	"CAMELLIA": true, "CAMELLIA128": true, "CAMELLIA256": true, "ARIA": true, "ARIA128": true, "ARIA256": true, "AESCCM": true, "AESCCM8": true,
	"COMPLEMENTOFALL": true, "COMPLEMENTOFDEFAULT": true, "SSLv2": true, "GOST94": true, "GOST89MAC": true, "aGOST": true, "kGOST": true,
}

// cipherList picks the TLS 1.2 suites that an OpenSSL list means (ciphers(1)). The order of a list has no
// meaning: the library prefers what is fastest on the hardware at hand. unknown are the names that
// stand for no suite.
func cipherList(list string) (ids []uint16, unknown []string) {
	banned := map[uint16]bool{}
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		word, _, _ = strings.Cut(word, "@")
		op := byte(0)
		if word != "" && strings.IndexByte("!-+", word[0]) >= 0 {
			op, word = word[0], word[1:]
		}
		if word == "" {
			continue
		}
		found, known := cipherWord(word)
		if !known {
			if op == 0 {
				unknown = append(unknown, word)
			}
			continue
		}
		for _, id := range found {
			switch op {
			case '!', '-':
				banned[id] = banned[id] || op == '!'
				ids = slices.DeleteFunc(ids, func(have uint16) bool { return have == id })
			case 0:
				if !banned[id] && !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids, unknown
}

// cipherWord returns the suites of a name or of keywords joined by +.
func cipherWord(word string) (ids []uint16, known bool) {
	for _, s := range suites {
		if s.name == word {
			return []uint16{s.id}, true
		}
	}
	parts := strings.Split(word, "+")
	known = true
	none := false
	for i, p := range parts {
		if a := aliases[p]; a != "" {
			parts[i] = a
		} else if empty[p] {
			none = true
		} else if !keyword(p) {
			known = false
		}
	}
	if none || !known {
		return nil, known
	}
	for _, s := range suites {
		if !s.byName && !slices.ContainsFunc(parts, func(p string) bool { return !hasWord(s.keywords, p) }) {
			ids = append(ids, s.id)
		}
	}
	return ids, true
}

func keyword(word string) bool {
	return slices.ContainsFunc(suites, func(s suite) bool { return hasWord(s.keywords, word) })
}

var curves = map[string]tls.CurveID{
	"X25519": tls.X25519, "X25519MLKEM768": tls.X25519MLKEM768,
	"P-256": tls.CurveP256, "PRIME256V1": tls.CurveP256, "SECP256R1": tls.CurveP256,
	"P-384": tls.CurveP384, "SECP384R1": tls.CurveP384,
	"P-521": tls.CurveP521, "SECP521R1": tls.CurveP521,
}

// curveList reads ssl_curve_list. unknown are the names of curves that the library does not have.
func curveList(list string) (ids []tls.CurveID, unknown []string) {
	if list == "" || strings.EqualFold(list, "auto") {
		return []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}, nil
	}
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		id, ok := curves[strings.ToUpper(word)]
		switch {
		case !ok:
			unknown = append(unknown, word)
		case !slices.Contains(ids, id):
			ids = append(ids, id)
		}
	}
	return ids, unknown
}
