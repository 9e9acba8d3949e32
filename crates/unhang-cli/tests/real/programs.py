"""The programs, and what each is made to do: `SITUATIONS` maps a name to a function that plays it on a stage, and gives the
paths to look at."""

import glob
import os
import shutil

from stage import HERE, Missing

SITUATIONS = {}


def situation(name):
    def add(play):
        SITUATIONS[name] = play
        return play

    return add


# --- databases -------------------------------------------------------------------------------------------------------


def postgres(stage):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found or shutil.which("runuser") is None:
        raise Missing("postgres")
    binaries, data, sockets = found[-1], stage.path("data"), stage.path("pg")
    for directory in (data, sockets):
        os.mkdir(directory)
        shutil.chown(directory, "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"]
    stage.run(*as_postgres, f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", cwd="/")
    server = [f"{binaries}/postgres", "-D", data, "-k", sockets, "-h", "", "-c", "fsync=off"]
    stage.start(*as_postgres, *server, cwd="/")
    return sockets, binaries, stage.await_socket(f"{sockets}/.s.PGSQL.5432")


@situation("PostgreSQL · psql at its prompt, LISTEN")
def _(stage):
    sockets, _, path = postgres(stage)
    stage.at_a_terminal("psql", "-h", sockets, "-U", "postgres")
    stage.python("client.py", "listen", sockets)
    return [path]


@situation("PostgreSQL · pgbench")
def _(stage):
    sockets, binaries, path = postgres(stage)
    bench = f"{binaries}/pgbench"
    stage.run(bench, "-i", "-q", "-h", sockets, "-U", "postgres", "postgres")
    stage.start(bench, "-c", "8", "-j", "2", "-T", "9999", "-h", sockets, "-U", "postgres", "postgres")
    return [path]


@situation("PostgreSQL · statements of 0.25 s")
def _(stage):
    sockets, _, path = postgres(stage)
    stage.python("client.py", "query", sockets, "select pg_sleep(0.25)")
    return [path]


def redis(stage, *options):
    path = stage.path("redis")
    stage.start("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", stage.directory, *options)
    return stage.await_socket(path)


@situation("Redis · BLPOP, SUBSCRIBE, MONITOR, XREAD BLOCK, redis-cli at its prompt")
def _(stage):
    path = redis(stage)
    for words in (["BLPOP", "queue", "0"], ["SUBSCRIBE", "news"], ["MONITOR"], ["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]):
        stage.start("redis-cli", "-s", path, *words)
    stage.python("client.py", "line", path, "BLPOP", "other", "0")
    stage.at_a_terminal("redis-cli", "-s", path)
    return [path]


@situation("Redis · redis-benchmark -c 300")
def _(stage):
    path = redis(stage)
    stage.start("redis-benchmark", "-s", path, "-c", "300", "-l", "-q", "-t", "get,set")
    return [path]


def mariadb(stage):
    data, path = stage.path("data"), stage.path("mysql")
    stage.run("mariadb-install-db", f"--datadir={data}", "--user=root", "--auth-root-authentication-method=normal")
    stage.start("mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={path}", "--skip-networking", "--user=root")
    return stage.await_socket(path)


@situation("MariaDB · mariadb at its prompt")
def _(stage):
    path = mariadb(stage)
    stage.at_a_terminal("mariadb", "-S", path, "-u", "root")
    return [path]


@situation("MariaDB · statements of 0.25 s")
def _(stage):
    path = mariadb(stage)
    for _ in range(4):
        loop = 'while :; do echo "select sleep(0.25);"; done'
        stage.start("sh", "-c", f"{loop} | mariadb -S {path} -u root")
    return [path]


def memcached(stage):
    path = stage.path("memcached")
    stage.start("memcached", "-s", path, "-u", "root", "-t", "4")
    return stage.await_socket(path)


@situation("memcached · an idle client")
def _(stage):
    path = memcached(stage)
    stage.python("client.py", "silent", path)
    stage.python("client.py", "line", path, "version")
    return [path]


@situation("memcached · load")
def _(stage):
    path = memcached(stage)
    stage.python("client.py", "lines-load", path, "stats", "END")
    return [path]


# --- web servers -----------------------------------------------------------------------------------------------------


def kept(stage, path):
    stage.python("client.py", "http-kept", path)
    return [path]


def load(stage, path, target="/", threads=8, keeps="yes"):
    stage.python("client.py", "http-load", path, target, str(threads), keeps)
    return [path]


def nginx(stage, location, name="nginx"):
    path = stage.path(name)
    config = f"""
        daemon off; worker_processes 2; pid {stage.path(name + ".pid")}; error_log {stage.path(name + ".log")};
        user root;
        events {{ worker_connections 256; }}
        http {{
            access_log off;
            client_body_temp_path {stage.path("body")}; proxy_temp_path {stage.path("proxy")};
            fastcgi_temp_path {stage.path("fastcgi")}; uwsgi_temp_path {stage.path("uwsgi")}; scgi_temp_path {stage.path("scgi")};
            {location.get("http", "")}
            server {{ listen unix:{path}; location / {{ {location["location"]} }} }}
        }}"""
    stage.start("nginx", "-c", stage.write(f"{name}.conf", config), "-e", stage.path(f"{name}.log"))
    return stage.await_socket(path)


def before(stage, upstream, keeps=True):
    keepalive = "keepalive 8;" if keeps else ""
    return nginx(
        stage,
        {
            "http": f"upstream up {{ server unix:{upstream}; {keepalive} }}",
            "location": 'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";',
        },
    )


@situation("nginx · a kept-alive connection")
def _(stage):
    return kept(stage, nginx(stage, {"location": "return 200 hello;"}))


@situation("nginx · load")
def _(stage):
    return load(stage, nginx(stage, {"location": "return 200 hello;"}))


PAGE = """<?php
    $path = strtok($_SERVER['REQUEST_URI'], '?');
    if ($path === '/slow') usleep(250000);
    if ($path === '/slower') usleep(900000);
    if ($path === '/never') sleep(100000);
    echo "hello\\n";
"""


def php_fpm(stage, children=4):
    found = sorted(glob.glob("/usr/sbin/php-fpm[0-9]*"))
    if not found:
        raise Missing("php-fpm")
    path = stage.path("fpm")
    config = f"""[global]
error_log = {stage.path("fpm.log")}
daemonize = no
[www]
listen = {path}
user = www-data
group = www-data
pm = static
pm.max_children = {children}
"""
    stage.write("page.php", PAGE)
    stage.start(found[-1], "--nodaemonize", "--fpm-config", stage.write("fpm.conf", config), "--allow-to-run-as-root")
    return stage.await_socket(path)


def php(stage, children=4):
    fpm = php_fpm(stage, children)
    page = stage.path("page.php")
    parameters = f"""fastcgi_pass unix:{fpm}; fastcgi_param SCRIPT_FILENAME {page}; fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param REQUEST_URI $request_uri; fastcgi_param CONTENT_LENGTH $content_length;"""
    return [nginx(stage, {"location": parameters}), fpm]


@situation("nginx → php-fpm · a kept-alive connection")
def _(stage):
    paths = php(stage)
    kept(stage, paths[0])
    return paths


@situation("nginx → php-fpm · load")
def _(stage):
    paths = php(stage)
    load(stage, paths[0])
    return paths


@situation("nginx → php-fpm · pages of 0.25 s, more than it has workers")
def _(stage):
    paths = php(stage)
    load(stage, paths[0], "/slow", 6)
    return paths


@situation("nginx → php-fpm · pages of 0.9 s")
def _(stage):
    paths = php(stage)
    load(stage, paths[0], "/slower", 4)
    return paths


def haproxy(stage, upstream):
    path, admin = stage.path("haproxy"), stage.path("admin")
    config = f"""
global
    stats socket {admin}
defaults
    mode http
    timeout client 600s
    timeout server 600s
    timeout connect 5s
frontend front
    bind {path}
    default_backend back
backend back
    server one {upstream}
"""
    stage.start("haproxy", "-db", "-f", stage.write("haproxy.cfg", config))
    stage.await_socket(admin)
    return stage.await_socket(path), admin


@situation("HAProxy → nginx · a kept-alive connection, its socket renamed")
def _(stage):
    path, admin = haproxy(stage, nginx(stage, {"location": "return 200 hello;"}))
    return [*kept(stage, path), admin]


@situation("HAProxy → nginx · load")
def _(stage):
    path, admin = haproxy(stage, nginx(stage, {"location": "return 200 hello;"}))
    return [*load(stage, path), admin]


# --- application servers ---------------------------------------------------------------------------------------------


def python_server(*command):
    def start(stage):
        path = stage.path("app")
        arguments = [word.replace("PATH", path) for word in command]
        stage.start(*arguments, cwd=HERE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        return stage.await_socket(path)

    return start


def puma(stage):
    path = stage.path("puma")
    stage.write("config.ru", "run ->(env) { sleep 0.25 if env['PATH_INFO'] == '/slow'; [200, {'content-type' => 'text/plain'}, ['hello']] }")
    stage.start("puma", "-b", f"unix://{path}", "-t", "8:8", "-C", "-", "config.ru")
    return stage.await_socket(path)


def node(stage):
    path = stage.path("node")
    script = """require('http').createServer((request, response) => {
        const answer = () => response.end('hello\\n');
        if (request.url === '/slow') setTimeout(answer, 250);
        else if (request.url === '/stream') response.write('hello\\n');
        else if (request.url !== '/never') answer();
    }).listen(process.argv[2]);"""
    stage.start("node", stage.write("server.js", script), path)
    return stage.await_socket(path)


GO = """package main
import ("net"; "net/http"; "os"; "time")
func main() {
    http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
        switch r.URL.Path {
        case "/slow": time.Sleep(250 * time.Millisecond)
        case "/never": select {}
        case "/stream": w.Write([]byte("hello\\n")); w.(http.Flusher).Flush(); <-r.Context().Done()
        }
        w.Write([]byte("hello\\n"))
    })
    listener, err := net.Listen("unix", os.Args[1])
    if err != nil { panic(err) }
    http.Serve(listener, nil)
}
"""

GO_POOL = """package main
import ("context"; "io"; "net"; "net/http"; "os"; "time")
func main() {
    client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(context.Context, string, string) (net.Conn, error) {
        return net.Dial("unix", os.Args[1])
    }}}
    response, err := client.Get("http://localhost/")
    if err != nil { panic(err) }
    io.Copy(io.Discard, response.Body)
    response.Body.Close()
    time.Sleep(1000 * time.Hour)
}
"""


def build_go(stage, name, source):
    program = stage.path(name)
    environment = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "-p=1", "CGO_ENABLED": "0"}
    stage.run("go", "build", "-o", program, stage.write(f"{name}.go", source), env=environment)
    return program


def go(stage):
    path = stage.path("go")
    stage.start(build_go(stage, "server", GO), path)
    return stage.await_socket(path)


JAVA = """import com.sun.net.httpserver.*;
import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.concurrent.*;
public class Serve {
    public static void main(String[] arguments) throws Exception {
        ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        listener.bind(UnixDomainSocketAddress.of(arguments[0]));
        ExecutorService pool = Executors.newFixedThreadPool(16);
        while (true) {
            SocketChannel client = listener.accept();
            pool.submit(() -> { serve(client); return null; });
        }
    }
    static void serve(SocketChannel client) throws Exception {
        ByteBuffer buffer = ByteBuffer.allocate(8192);
        while (client.read(buffer) >= 0) {
            String request = new String(buffer.array(), 0, buffer.position());
            if (!request.contains("\\r\\n\\r\\n")) continue;
            buffer.clear();
            if (request.startsWith("GET /slow")) Thread.sleep(250);
            byte[] reply = "HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n".getBytes();
            client.write(ByteBuffer.wrap(reply));
        }
        client.close();
    }
}
"""


def java(stage):
    path = stage.path("java")
    stage.start("java", "-Xmx64m", stage.write("Serve.java", JAVA), path)
    return stage.await_socket(path)


SERVERS = {
    "gunicorn sync": python_server("gunicorn", "-w", "2", "-b", "unix:PATH", "app:wsgi"),
    "gunicorn gthread": python_server("gunicorn", "-k", "gthread", "-w", "1", "--threads", "8", "-b", "unix:PATH", "app:wsgi"),
    "uvicorn": python_server("uvicorn", "--uds", "PATH", "--log-level", "warning", "app:asgi"),
    "uWSGI": python_server(
        "uwsgi", "--plugin", "python3", "--http-socket", "PATH", "--processes", "2", "--master", "--die-on-term", "--wsgi-file", "app.py"
    ),
    "puma": puma,
    "Node": node,
    "Go net/http": go,
    "OpenJDK": java,
}

for name, start in SERVERS.items():

    @situation(f"{name} · a kept-alive connection")
    def _(stage, start=start):
        return kept(stage, start(stage))

    @situation(f"{name} · load")
    def _(stage, start=start):
        return load(stage, start(stage))

    @situation(f"{name} · answers that take 0.25 s")
    def _(stage, start=start):
        return load(stage, start(stage), "/slow", 6)


@situation("nginx keep-alive → Go net/http · idle")
def _(stage):
    upstream = go(stage)
    front = before(stage, upstream)
    kept(stage, front)
    return [front, upstream]


@situation("nginx → uvicorn · load")
def _(stage):
    upstream = SERVERS["uvicorn"](stage)
    front = before(stage, upstream)
    return [*load(stage, front), upstream]


@situation("Go's http.Client → Go net/http, Node · an idle pool")
def _(stage):
    paths = [go(stage), node(stage)]
    pool = build_go(stage, "pool", GO_POOL)
    for path in paths:
        stage.start(pool, path)
    return paths


@situation("Node, uvicorn · an event stream that says nothing for now")
def _(stage):
    paths = [node(stage), SERVERS["uvicorn"](stage)]
    for path in paths:
        stage.python("client.py", "http-stream", path)
        stage.start("curl", "-sN", "--unix-socket", path, "http://localhost/stream")
    return paths


@situation("OpenJDK · after jcmd")
def _(stage):
    path = java(stage)
    # It makes its attach socket under another name, and renames it.
    stage.run("jcmd", str(stage.processes[-1].pid), "VM.version")
    return [*kept(stage, path), f"/tmp/.java_pid{stage.processes[0].pid}"]


# --- the desktop and the system --------------------------------------------------------------------------------------


@situation("supervisord · supervisorctl tail -f")
def _(stage):
    path = stage.path("supervisor")
    config = f"""[unix_http_server]
file={path}
[supervisord]
nodaemon=true
user=root
logfile={stage.path("supervisord.log")}
pidfile={stage.path("supervisord.pid")}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{path}
[program:sleep]
command=sleep 100000
"""
    config = stage.write("supervisord.conf", config)
    stage.start("supervisord", "-c", config)
    stage.await_socket(path)
    stage.start("supervisorctl", "-c", config, "tail", "-f", "sleep")
    stage.at_a_terminal("supervisorctl", "-c", config)
    return [path]


@situation("dbus-daemon · dbus-monitor, a service that waits for calls")
def _(stage):
    path = stage.path("bus")
    stage.start("dbus-daemon", "--session", "--nofork", f"--address=unix:path={path}")
    stage.await_socket(path)
    environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={path}"}
    stage.start("dbus-monitor", "--session", env=environment)
    if shutil.which("gdbus"):
        stage.start("gdbus", "monitor", "--session", "--dest", "org.freedesktop.DBus", env=environment)
    return [path]


@situation("ssh-agent · ssh-add, an idle client")
def _(stage):
    path = stage.path("agent")
    stage.start("ssh-agent", "-D", "-a", path)
    stage.await_socket(path)
    stage.python("client.py", "silent", path)
    stage.start("sh", "-c", "while :; do ssh-add -l; done", env={**os.environ, "SSH_AUTH_SOCK": path})
    return [path]


@situation("gpg-agent · an idle client, gpg-connect-agent in a loop")
def _(stage):
    home = stage.path("gnupg")
    os.mkdir(home, 0o700)
    environment = {**os.environ, "GNUPGHOME": home}
    stage.start("gpg-agent", "--homedir", home, "--daemon", "sleep", "100000", env=environment)
    path = stage.await_socket(f"{home}/S.gpg-agent")
    stage.python("client.py", "silent", path)
    stage.start("sh", "-c", f"while :; do gpg-connect-agent --homedir {home} 'getinfo version' /bye; done", env=environment)
    return [path]


@situation("tmux · attached")
def _(stage):
    path = stage.path("tmux")
    stage.at_a_terminal("tmux", "-S", path, "new-session", "cat")
    return [stage.await_socket(path)]


@situation("Xvfb · xclock, xev")
def _(stage):
    number = 90 + os.getpid() % 900
    display = f":{number}"
    stage.start("Xvfb", display, "-nolisten", "tcp", "-screen", "0", "320x200x8")
    path = stage.await_socket(f"/tmp/.X11-unix/X{number}")
    environment = {**os.environ, "DISPLAY": display}
    stage.start("xclock", env=environment)
    stage.start("xev", env=environment)
    return [path]


@situation("rsyslog · a line each 10 ms")
def _(stage):
    path = stage.path("log-socket")
    config = f"""module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{path}" CreatePath="on")
*.* {stage.path("lines")}
"""
    stage.start("rsyslogd", "-n", "-f", stage.write("rsyslog.conf", config), "-i", stage.path("rsyslog.pid"))
    stage.await_socket(path)
    stage.python("client.py", "datagrams", path)
    return [path]


@situation("mosquitto · mosquitto_sub, a message each 10 ms")
def _(stage):
    path = stage.path("mqtt")
    stage.start("mosquitto", "-c", stage.write("mosquitto.conf", f"listener 0 {path}\nallow_anonymous true\nuser root\n"))
    stage.await_socket(path)
    stage.start("mosquitto_sub", "--unix", path, "-t", "quiet")
    stage.start("mosquitto_sub", "--unix", path, "-t", "busy")
    stage.start("sh", "-c", f"while sleep 0.01; do echo line; done | mosquitto_pub --unix {path} -t busy -l")
    return [path]


@situation("socat · at a terminal")
def _(stage):
    path = stage.path("socat")
    stage.start("socat", f"UNIX-LISTEN:{path},fork", "EXEC:cat")
    stage.await_socket(path)
    stage.at_a_terminal("socat", "-", f"UNIX-CONNECT:{path}")
    return [path]


@situation("Python's multiprocessing · a pool without work")
def _(stage):
    script = "import multiprocessing, time\nwith multiprocessing.Pool(3) as pool:\n    time.sleep(1e6)\n"
    process = stage.start("/usr/bin/python3", stage.write("pool.py", script))
    return [str(process.pid)]


def is_alive(stage):
    ended = [process.args[0] for process in stage.processes if process.poll() not in (None, 0)]
    return not ended, ended


