FROM rust:1-slim AS build
WORKDIR /app
COPY . .
RUN cargo build --release --locked --package questions

FROM debian:stable-slim
RUN useradd --system --uid 10001 app
WORKDIR /app
COPY --from=build /app/target/release/questions /usr/local/bin/questions
COPY examples/questions/templates templates
COPY examples/questions/static static
USER app
ENV HOST=0.0.0.0 PORT=5000 TEMPLATES_DIR=/app/templates
EXPOSE 5000
# SECRET_KEY comes from outside: docker run -e SECRET_KEY=...
CMD ["questions"]
