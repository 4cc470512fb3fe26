# A gateway for test-score.R, in its own process: writes the port it got to the file given, answers by what is asked.
port_file <- commandArgs(trailingOnly = TRUE)[1]

signature <- paste0(
  '{"inputs":[{"name":"x","type":"double"},{"name":"f","type":"factor","levels":["a","b"]},',
  '{"name":"t","type":"date"},{"name":"z","type":"datetime"}],"outputs":[{"name":"class","type":"factor",',
  '"levels":["NA","b"]},{"name":"p","type":"double"},{"name":"t","type":"date"},{"name":"z","type":"datetime"}],',
  '"kind":"table"}'
)
bare <- '{"inputs":[{"name":"x","type":"double"}],"outputs":[{"name":"prediction","type":"double"}],"kind":"vector"}'
fun <- paste0(
  '{"kind":"function","inputs":[{"name":"x","type":"double"},{"name":"xs","type":"double","vector":true}],"outputs":[',
  '{"name":"y","type":"double","vector":true},{"name":"day","type":"date"},',
  '{"name":"none","type":"string","vector":true}]}'
)
problem <- paste0(
  '{"type":"about:blank","title":"Unprocessable","status":422,"detail":"2 problems with the rows",',
  '"code":"invalid_rows","request_id":"r-1","problems":[{"pointer":"/rows/0/x","detail":"is null"}],"problems_total":2}'
)
bodies <- character()

answer <- function(req) {
  reply <- function(body, status = 200L) {
    list(status = status, headers = list("Content-Type" = "application/json"), body = body)
  }
  body <- rawToChar(req$rook.input$read())
  if (nzchar(body)) bodies <<- c(bodies, body)
  if (!identical(req$HTTP_AUTHORIZATION, "Bearer token")) {
    return(reply('{"status":401,"detail":"no token","code":"TokenNotPresent"}', 401L))
  }
  switch(req$PATH_INFO,
    "/v1/models/table" = ,
    "/v1/models/table/versions/3" = reply(paste0('{"model":"table","version":"3","signature":', signature, "}")),
    "/v1/models/table/versions/3/score" = reply(paste0(
      '{"model":"table","version":"3","predictions":[{"class":"NA","p":0.1,"t":"2024-02-29",',
      '"z":"2024-02-29T00:00:00.123456Z"},{"class":null,"p":null,"t":null,"z":null}]}'
    )),
    "/v1/models/bare" = reply(paste0('{"model":"bare","version":"1","signature":', bare, "}")),
    "/v1/models/bare/versions/1/score" = reply('{"predictions":[24,null,0.30000000000000004]}'),
    "/v1/models/fun" = reply(paste0('{"model":"fun","version":"1","signature":', fun, "}")),
    "/v1/models/fun/versions/1/score" = reply('{"outputs":{"y":[0.1,null],"day":"2024-02-29","none":[]}}'),
    "/v1/models/bad" = reply(paste0('{"model":"bad","version":"1","signature":', bare, "}")),
    "/v1/models/bad/versions/1/score" = reply(problem, 422L),
    "/last" = reply(utils::tail(bodies, 1L)),
    reply('{"status":404,"detail":"no such model","code":"model_not_found"}', 404L)
  )
}

port <- httpuv::randomPort()
server <- httpuv::startServer("127.0.0.1", port, list(call = answer))
writeLines(as.character(port), paste0(port_file, ".half"))
invisible(file.rename(paste0(port_file, ".half"), port_file))
owner <- as.integer(commandArgs(trailingOnly = TRUE)[2])
while (dir.exists(file.path("/proc", owner)) && file.exists(port_file)) httpuv::service(200)
