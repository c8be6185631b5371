"""Spring MVC in Tomcat, Debian's, started and told as docs/frameworks.md has it.

Spring Boot itself is in none of the registries that the tests are installed from. What it makes of these lines of
application.properties and of `--server.port` (TomcatWebServerFactoryCustomizer), `main` does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.applications.frameworks import UPLOAD, ask, framework, get, upload, websocket
from tests.applications.harness import MASKED, PLAIN, Application, Applications
from tests.support.components import require

SOURCE = """
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Collections;
import java.util.Properties;
import javax.servlet.MultipartConfigElement;
import javax.servlet.http.HttpServletRequest;
import javax.websocket.OnMessage;
import javax.websocket.server.ServerEndpoint;
import org.apache.catalina.Context;
import org.apache.catalina.Wrapper;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.valves.RemoteIpValve;
import org.apache.tomcat.websocket.server.WsSci;
import org.springframework.context.annotation.Bean;
import org.springframework.stereotype.Controller;
import org.springframework.web.bind.annotation.*;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;
import org.springframework.web.multipart.MultipartFile;
import org.springframework.web.multipart.support.StandardServletMultipartResolver;
import org.springframework.web.servlet.DispatcherServlet;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerAdapter;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerMapping;

public class App {
  @Bean StandardServletMultipartResolver multipartResolver() { return new StandardServletMultipartResolver(); }
  @Bean RequestMappingHandlerMapping mapping() { return new RequestMappingHandlerMapping(); }
  @Bean RequestMappingHandlerAdapter adapter() { return new RequestMappingHandlerAdapter(); }

  @Controller
  public static class Pages {
    // Not on the upload as well: Spring before 5.1 reads Forwarded here, whatever the valve says, and loses the port.
    // origin
    @GetMapping("/") @ResponseBody
    public String page(HttpServletRequest request) { return request.getRequestURL().toString(); }

    @GetMapping("/login")
    public String login(HttpServletRequest request) { return "redirect:" + request.getRequestURL().toString(); }

    @PostMapping("/upload") @ResponseBody
    public String upload(@RequestParam("file") MultipartFile file) { return String.valueOf(file.getSize()); }
  }

  @ServerEndpoint("/socket")
  public static class Echo {
    @OnMessage public String said(String message) { return message; }
  }

  public static void main(String[] arguments) throws Exception {
    AnnotationConfigWebApplicationContext beans = new AnnotationConfigWebApplicationContext();
    beans.register(App.class);
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir("tomcat");
    tomcat.setPort(Integer.parseInt(arguments[0].replace("--server.port=", "")));
    tomcat.getConnector();
    Context context = tomcat.addContext("", null);
    context.addServletContainerInitializer(new WsSci(), Collections.singleton(Echo.class));
    Wrapper servlet = Tomcat.addServlet(context, "dispatcher", new DispatcherServlet(beans));
    servlet.setMultipartConfigElement(new MultipartConfigElement(""));
    servlet.setLoadOnStartup(1);
    context.addServletMappingDecoded("/", "dispatcher");
    beans.setServletContext(context.getServletContext());
    beans.refresh();
    Properties told = new Properties();
    told.load(Files.newBufferedReader(Paths.get("application.properties")));
    if ("native".equals(told.getProperty("server.forward-headers-strategy"))) {
      RemoteIpValve valve = new RemoteIpValve();
      valve.setHostHeader("X-Forwarded-Host");
      valve.setPortHeader("X-Forwarded-Port");
      valve.setInternalProxies(told.getProperty("server.tomcat.remoteip.internal-proxies"));
      tomcat.getEngine().getPipeline().addValve(valve);
    }
    tomcat.start();
    tomcat.getServer().await();
  }
}
"""
JAVA = Path("/usr/share/java")
PARTS = ("aop", "beans", "context", "core", "expression", "web", "web.servlet")
NEIGHBOUR = "https://5173-local.sandbox.test"


def jars() -> list[Path]:
    """Of Spring and Tomcat, as Debian names them."""
    spring = [JAVA / f"spring3-{part}.jar" for part in PARTS]
    return [*spring, *sorted(JAVA.glob("tomcat9-*.jar")), JAVA / "commons-logging.jar"]


@pytest.fixture(scope="module")
def folder(elsewhere: Applications, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With app.jar in it."""
    require("default-jdk-headless", "libspring-web-servlet-java", "libtomcat9-java")
    folder = tmp_path_factory.mktemp("spring")
    (folder / "App.java").write_text(framework("Spring").told(SOURCE, elsewhere, of=("origin",)))
    path = ":".join(map(str, jars()))
    # Spring 4 reads the classes of Java 8.
    subprocess.run(["javac", "--release", "8", "-nowarn", "-cp", path, "App.java"], cwd=folder, check=True)
    with ZipFile(folder / "app.jar", "w") as jar:
        # A line has 72 octets at most, and goes on behind a blank.
        entry = "Class-Path: " + " ".join(each.as_uri() for each in jars())
        lines = [entry[at : at + 70] for at in range(0, len(entry), 70)]
        manifest = ["Manifest-Version: 1.0", "Main-Class: App", "\n ".join(lines), ""]
        jar.writestr("META-INF/MANIFEST.MF", "\n".join(manifest))
        for compiled in folder.glob("*.class"):
            jar.write(compiled, compiled.name)
    return folder


@contextmanager
def spring(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ("proxy",)) -> Iterator[Application]:
    row = framework("Spring")
    (folder / "application.properties").write_text(row.told("# proxy\n", gateway, of=of))
    # Who lives for seconds compiles lightly.
    with row.started(gateway, folder, {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}) as app:
        yield app


def test_spring(elsewhere: Applications, folder: Path, tmp_path: Path) -> None:
    with spring(elsewhere, folder) as app:
        for sandbox in (PLAIN, MASKED):
            assert get(app, sandbox=sandbox).text == app.url(sandbox=sandbox)
            assert get(app, "/login", sandbox=sandbox).header("Location") == app.url("/login", sandbox)
        page = f"{NEIGHBOUR}:{elsewhere.tls_port}"
        asked = get(app, "/", "--header", f"Origin: {page}")
        assert asked.header("Access-Control-Allow-Origin") == page
        assert upload(app, "/upload", tmp_path).text == str(UPLOAD)
        with websocket(app, "/socket") as socket:
            socket.send("größe")
            assert socket.recv(60) == "größe"


def test_spring_that_is_told_nothing_takes_itself_for_http(elsewhere: Applications, folder: Path) -> None:
    with spring(elsewhere, folder, of=()) as app:
        assert get(app).text == app.url().replace("https:", "http:")
        login = ask(app, "/login")
        assert login.header("Location") == app.url("/login").replace("https:", "http:")
        assert "and not to https://" in (login.header("X-Gateway-Hint") or "")
