package scheme

// Limits on what a stored hash may cost. They are far above what a mail installation uses, and
// low enough that one hostile or mistyped row costs seconds and a gibibyte, not the process.
const (
	maxArgon2Memory  = 1 << 20    // KiB
	maxArgon2Work    = 16 << 20   // KiB times passes
	maxArgon2Threads = 16         // lanes; Dovecot knows 1 only
	maxBcryptCost    = 18         // about 15 s
	maxRounds        = 10_000_000 // SHA-crypt, PBKDF2, SCRAM, Sun MD5, sha1crypt: a few seconds
	maxScryptMemory  = 1 << 30    // bytes
	maxOTPSequence   = 9999       // RFC 2289 section 6.0 starts below that
	// maxCryptPassword is crypt(3)'s limit in bytes (CRYPT_MAX_PASSPHRASE_SIZE less the NUL): a
	// longer password never matches. SHA-crypt's first phase is quadratic in the length.
	maxCryptPassword = 511
)
