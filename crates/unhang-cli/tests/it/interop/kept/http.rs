//! Clients of HTTP: curl, PHP's curl, Node, Go, and three of Python's.

use std::path::PathBuf;
use std::process::Command;

use super::super::go::build;
use super::super::missing;
use super::{Kept, missing_for_python, on_one_connection, python};
use crate::support::programs::skip;
use crate::support::root;

/// What each client prints: the body, or its length for a long one, and the status.
const PRINTED: &str = "\
GET /one |200
POST /two two|200
POST /stream three|200
300011|200
gone|410
no such thing\n|500
GET /last |200
";

/// The client asks the seven on one connection, and gets the right answers.
fn asks_on_one_connection(client: impl FnOnce(&str) -> Command) {
    let server = Kept::start(unhang::Server::http);
    let mut client = client(server.path());
    let (printed, exchanges) = server.serves(&mut client, &vec![b'x'; 300_000]);
    assert_eq!(printed, PRINTED);
    let mut expected = on_one_connection(7);
    expected[5].1 = "refused".into();
    assert_eq!(exchanges, expected);
}

#[test]
fn curl_keeps_its_connection() {
    if missing("curl", "curl") {
        return;
    }
    asks_on_one_connection(|path| {
        let mut curl = Command::new("curl");
        let told = "|%{http_code}\n";
        let ask = |curl: &mut Command, arguments: &[&str]| {
            curl.args(["-sS", "--max-time", "60", "--unix-socket", path]).args(arguments);
        };
        ask(&mut curl, &["http://app/one", "-w", told]);
        curl.arg("--next");
        ask(&mut curl, &["http://app/two", "-d", "two", "-w", told]);
        curl.arg("--next");
        // A body in chunks.
        let chunked = "Transfer-Encoding: chunked";
        ask(&mut curl, &["http://app/stream", "-d", "three", "-H", chunked, "-w", told]);
        curl.arg("--next");
        let length = "%{size_download}|%{http_code}\n";
        let large = ["http://app/large", "-X", "PUT", "--data-binary", "@-", "-o", "/dev/null"];
        ask(&mut curl, &[&large[..], &["-H", "Expect: 100-continue", "-w", length]].concat());
        for target in ["gone", "fails", "last"] {
            curl.arg("--next");
            ask(&mut curl, &[&format!("http://app/{target}"), "-w", told]);
        }
        curl
    });
}

#[test]
fn php_s_curl_keeps_its_connection() {
    if missing("php", "php-cli") {
        return;
    }
    let loaded =
        Command::new("php").args(["-r", "exit((int) !extension_loaded('curl'));"]).status();
    if !loaded.is_ok_and(|status| status.success()) {
        return skip("PHP has no curl", "php-curl");
    }
    asks_on_one_connection(|path| script("php", &["-r"], PHP, path));
}

const PHP: &str = r#"
    $curl = curl_init();
    function ask(string $target, array $options = [], bool $long = false): void {
        global $curl, $argv;
        curl_reset($curl);
        curl_setopt_array($curl, $options + [
            CURLOPT_URL => 'http://app' . $target,
            CURLOPT_UNIX_SOCKET_PATH => $argv[1],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 60,
        ]);
        $body = curl_exec($curl);
        if ($body === false) {
            fwrite(STDERR, curl_error($curl));
            exit(1);
        }
        echo $long ? strlen($body) : $body, '|', curl_getinfo($curl, CURLINFO_RESPONSE_CODE), "\n";
    }
    ask('/one');
    ask('/two', [CURLOPT_POSTFIELDS => 'two']);
    ask('/stream', [CURLOPT_POSTFIELDS => 'three']);
    ask('/large', [
        CURLOPT_CUSTOMREQUEST => 'PUT', CURLOPT_POSTFIELDS => stream_get_contents(STDIN),
    ], true);
    ask('/gone');
    ask('/fails');
    ask('/last');
"#;

#[test]
fn node_keeps_its_connection() {
    if missing("node", "nodejs") {
        return;
    }
    asks_on_one_connection(|path| script("node", &["-e"], NODE, path));
}

const NODE: &str = r"
    const http = require('http');
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (method, path, body, long) => new Promise((done, failed) => {
        const request = http.request({ socketPath: process.argv[1], agent, method, path }, (reply) => {
            let text = '';
            reply.on('data', (data) => { text += data; });
            reply.on('end', () => done(console.log(`${long ? text.length : text}|${reply.statusCode}`)));
        });
        request.on('error', failed);
        request.end(body);
    });
    (async () => {
        await ask('GET', '/one');
        await ask('POST', '/two', 'two');
        await ask('POST', '/stream', 'three');
        await ask('PUT', '/large', require('fs').readFileSync(0), true);
        await ask('GET', '/gone');
        await ask('GET', '/fails');
        await ask('GET', '/last');
        agent.destroy();
    })();
";

#[test]
fn go_keeps_its_connection() {
    if missing("go", "golang-go") {
        return;
    }
    asks_on_one_connection(|path| {
        let source = root().join("crates/unhang-cli/tests/it/interop/kept/client.go");
        let mut go = Command::new(build(&source, "http"));
        go.arg(path);
        go
    });
}

#[test]
fn httpx_keeps_its_connection() {
    if missing_for_python("httpx", "python3-httpx") {
        return;
    }
    let client = "import httpx\n\
        client = httpx.Client(transport=httpx.HTTPTransport(uds=sys.argv[1]), timeout=60)\n\
        def ask(method, target, body=None):\n    \
            reply = client.request(method, 'http://app' + target, content=body)\n    \
            return reply.content, reply.status_code\n";
    asks_on_one_connection(|path| python_script(client, path));
}

#[test]
fn aiohttp_keeps_its_connection() {
    if missing_for_python("aiohttp", "python3-aiohttp") {
        return;
    }
    let client = "import aiohttp, asyncio\n\
        loop = asyncio.new_event_loop()\n\
        async def connect():\n    \
            return aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=sys.argv[1]))\n\
        session = loop.run_until_complete(connect())\n\
        async def asks(method, target, body):\n    \
            async with session.request(method, 'http://app' + target, data=body) as reply:\n        \
                return await reply.read(), reply.status\n\
        def ask(method, target, body=None):\n    \
            return loop.run_until_complete(asks(method, target, body))\n\
        import atexit\n\
        atexit.register(lambda: loop.run_until_complete(session.close()))\n";
    asks_on_one_connection(|path| python_script(client, path));
}

/// It keeps its connections by URL: the seven take one each, and one that is asked again is kept.
#[test]
fn requests_unixsocket_keeps_its_connection_to_a_url() {
    if missing_for_python("requests_unixsocket", "python3-requests-unixsocket") {
        return;
    }
    let client = "import requests_unixsocket, urllib.parse\n\
        session = requests_unixsocket.Session()\n\
        base = 'http+unix://' + urllib.parse.quote(sys.argv[1], safe='')\n\
        def ask(method, target, body=None):\n    \
            reply = session.request(method, base + target, data=body, timeout=60)\n    \
            return reply.content, reply.status_code\n";
    let server = Kept::start(unhang::Server::http);
    let mut python = python_script(&format!("{client}ask('GET', '/last')\n"), server.path());
    let (printed, exchanges) = server.serves(&mut python, &vec![b'x'; 300_000]);
    assert_eq!(printed, PRINTED);
    let mut nth: Vec<_> = exchanges.iter().map(|(nth, _)| *nth).collect();
    nth.sort_unstable();
    assert_eq!(nth, [1, 1, 1, 1, 1, 1, 1, 2]);
}

/// `client` defines `ask(method, target, body=None)`, which gives the body and the status.
fn python_script(client: &str, path: &str) -> Command {
    let asks = "def tell(body, status): print(f'{body.decode()}|{status}')\n\
        tell(*ask('GET', '/one'))\n\
        tell(*ask('POST', '/two', b'two'))\n\
        tell(*ask('POST', '/stream', b'three'))\n\
        body, status = ask('PUT', '/large', sys.stdin.buffer.read())\n\
        print(f'{len(body)}|{status}')\n\
        for target in ['/gone', '/fails', '/last']: tell(*ask('GET', target))\n";
    script(python(), &["-c"], &format!("import sys\n{client}{asks}"), path)
}

fn script(program: impl Into<PathBuf>, flags: &[&str], code: &str, path: &str) -> Command {
    let mut command = Command::new(program.into());
    command.args(flags).arg(code).arg(path);
    command
}
