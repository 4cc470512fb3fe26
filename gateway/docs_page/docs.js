// The shell of /docs: takes a token, fetches /openapi.json with it, and hands both to Swagger UI.
// The token is held in this page's memory only: it is gone on reload, and is never put into an address or storage.
"use strict";

(function () {
  const form = document.getElementById("sign-in");
  const box = document.getElementById("token");
  const message = document.getElementById("message");

  function say(text, refused) {
    message.textContent = text;
    message.className = refused ? "refused" : "";
  }

  // "Bearer eyJ…", quotes and line breaks come along when a token is copied.
  function cleaned(text) {
    return text.trim().replace(/^authorization:\s*/i, "").replace(/^bearer\s+/i, "").replace(/["'\s]/g, "");
  }

  async function refusal(answer) {
    try {
      const problem = await answer.json();
      return problem.detail + " (" + problem.code + ", request " + problem.request_id + ")";
    } catch (error) {
      return "The server answered " + answer.status + ".";
    }
  }

  function scorable(document_) {
    return Object.keys(document_.paths).filter((path) => /^\/v1\/models\/[^{}/]+\/score$/.test(path)).length;
  }

  async function show(event) {
    event.preventDefault();
    const token = cleaned(box.value);
    say("Asking for your models …", false);
    let description;
    try {
      const answer = await fetch("openapi.json", { headers: { Authorization: "Bearer " + token }, cache: "no-store" });
      if (!answer.ok) {
        say(await refusal(answer), true);
        return;
      }
      description = await answer.json();
    } catch (error) {
      say("The server did not answer: " + error.message, true);
      return;
    }
    const count = scorable(description);
    say(count === 1 ? "You may score one model." : "You may score " + count + " models.", false);
    const here = new URL(".", window.location.href);
    window.SwaggerUIBundle({
      spec: description,
      dom_id: "#api",
      presets: [window.SwaggerUIBundle.presets.apis],
      layout: "BaseLayout",
      validatorUrl: null,
      tryItOutEnabled: true,
      displayRequestDuration: true,
      defaultModelsExpandDepth: -1,
      docExpansion: "list",
      deepLinking: false,
      persistAuthorization: false,
      queryConfigEnabled: false,
      // Only this gateway gets the token, whatever a description says.
      requestInterceptor: function (request) {
        if (new URL(request.url, here).origin === here.origin) {
          request.headers.Authorization = "Bearer " + token;
        }
        return request;
      },
    });
  }

  form.addEventListener("submit", show);
})();
