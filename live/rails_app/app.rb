# A Rails application that shares sessions: its routes under /_test/ read and write them as typed JSON, and what one route answers for one
# session, the routes `read` and `write` answer for a list of cookies.
#
# Settings come from the environment: PORT and SECRET_KEY_BASE (required); OLD_SECRETS (comma separated: rotations); ENCRYPTION (gcm or cbc);
# DIGEST (SHA1 or SHA256: of the key derivation, Rails 7 and later) and OLD_DIGEST (a rotation); SERIALIZER (json, hybrid, marshal);
# EXPIRE_AFTER (seconds); DEFAULTS (of which release; its own).
#
# For tests only: anyone who can reach it can write any session.

require "json"
require "logger"
require "openssl"
require "tmpdir"
require "action_controller/railtie"
begin
  require "rackup"
rescue LoadError
  require "rack"
end
require "webrick"

NAME = "_app_session"
SEVEN = Rails.version >= "7"

class App < Rails::Application
  config.load_defaults ENV["DEFAULTS"] || Rails.version[0, 3]
  config.root = Dir.tmpdir
  config.eager_load = false
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE")
  config.logger = Logger.new(File::NULL)
  config.hosts.clear
  config.action_dispatch.cookies_serializer = (ENV["SERIALIZER"] || "json").to_sym
  config.action_dispatch.use_authenticated_cookie_encryption = (ENV["ENCRYPTION"] != "cbc")
  config.active_support.key_generator_hash_digest_class = OpenSSL::Digest.const_get(ENV["DIGEST"]) if ENV["DIGEST"] && SEVEN
  options = { key: NAME }
  options[:expire_after] = ENV["EXPIRE_AFTER"].to_i if ENV["EXPIRE_AFTER"]
  config.session_store :cookie_store, **options

  secrets = [ENV["SECRET_KEY_BASE"], *ENV["OLD_SECRETS"].to_s.split(",")]
  digests = [ENV["DIGEST"], ENV["OLD_DIGEST"]].compact
  digests = [SEVEN ? "SHA256" : "SHA1"] if digests.empty?
  secrets.product(digests).drop(1).each do |secret, digest|
    chosen = SEVEN ? { hash_digest_class: OpenSSL::Digest.const_get(digest) } : {}
    keys = ActiveSupport::KeyGenerator.new(secret, iterations: 1000, **chosen)
    config.action_dispatch.cookies_rotations.rotate :encrypted, keys.generate_key("authenticated encrypted cookie", 32)
  end
end

App.initialize!
# The bodies are the routes' own.
ActionDispatch::Request.parameter_parsers = {}

# Typed JSON: what JSON cannot say for sure is {"$t": type, "v": value}.
module Typed
  EXACT = 2**53 - 1

  def self.of(value)
    case value
    when Integer then value.abs > EXACT ? { "$t" => "int", "v" => value.to_s } : value
    when Float then { "$t" => "float", "v" => value.to_s, "bits" => [value].pack("G").unpack1("H*") }
    when Array then value.map { |item| of(item) }
    when Hash
      plain = value.keys.none? { |name| name.start_with?("$") }
      plain ? value.transform_values { |item| of(item) } : { "$t" => "map", "v" => value.map { |name, item| [name, of(item)] } }
    else value
    end
  end

  def self.back(value)
    case value
    when Array then value.map { |item| back(item) }
    when Hash
      case value["$t"]
      when nil then value.transform_values { |item| back(item) }
      when "int" then value["v"].to_i
      when "float" then [value["bits"]].pack("H*").unpack1("G")
      when "map" then value["v"].to_h { |name, item| [name, back(item)] }
      else raise "no typed JSON: #{value}"
      end
    else value
    end
  end
end

class TestController < ActionController::Base
  skip_forgery_protection

  def set
    session.clear
    insert
  end

  def add = insert
  def get = answer(Typed.of(session.to_hash))
  def clear = (reset_session; head(:no_content))
  def token = (form_authenticity_token; head(:no_content))
  def leave = (flash[body["category"] || "notice"] = body["message"]; head(:no_content))
  def take = answer(flash.to_hash)
  def version = render(plain: Rails.version)

  def login
    kept = session.to_hash.except("session_id", "_csrf_token")
    reset_session
    kept.each { |name, value| session[name] = value }
    insert
  end

  # What Rails opens of each cookie's value.
  def read = answer(body.map { |cookie| Typed.of(jar("#{NAME}=#{cookie}").encrypted[NAME]) })

  # The value of the cookie that Rails writes for each session.
  def write
    cookies = body.map do |session|
      jar = jar("")
      jar.encrypted[NAME] = { value: Typed.back(session) }
      URI.encode_www_form_component(jar[NAME])
    end
    answer(cookies)
  end

  private

  def body = (@body ||= ::JSON.parse(request.raw_post, max_nesting: false))
  def answer(value) = render(plain: ::JSON.generate(value, max_nesting: false))

  def insert
    Typed.back(body).each { |name, value| session[name] = value }
    head :no_content
  end

  def jar(header)
    env = Rails.application.env_config.merge(Rack::MockRequest.env_for("/", "HTTP_COOKIE" => header))
    ActionDispatch::Request.new(env).cookie_jar
  end
end

App.routes.draw do
  %w[get token take version].each { |action| get "/_test/#{action}", to: "test##{action}" }
  %w[set add clear login leave read write].each { |action| post "/_test/#{action}", to: "test##{action}" }
end
server = defined?(Rackup) ? Rackup::Handler.get("webrick") : Rack::Handler.get("webrick")
quiet = { Logger: WEBrick::Log.new(File::NULL), AccessLog: [] }
server.run(App, Host: "127.0.0.1", Port: ENV.fetch("PORT").to_i, **quiet)
