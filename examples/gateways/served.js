// Keeps what is served for the log, up to MOST bytes; above it none: it is then mirrored without content.

const MOST = 256 * 1024;
let chunks = []; // of one request: each has a scope of its own
let size = 0;

function collect(r, data, flags) {
    r.sendBuffer(data, flags);
    size += data.length;
    if (size <= MOST) chunks.push(data);
    if (flags.last && size <= MOST) r.variables.served_body = Buffer.concat(chunks).toString();
}

export default { collect };
