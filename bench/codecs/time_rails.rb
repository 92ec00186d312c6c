# Times Rails' encrypted cookie on the session of the other benchmarks: microseconds of CPU, the best of 15 runs.
require "json"
require "logger"
require "active_support"
require "active_support/key_generator"
require "active_support/message_encryptor"
require "active_support/messages/rotation_configuration"
require "action_dispatch"

SESSION = JSON.parse(File.read(File.join(__dir__, "../peers/src/session.json")))
SECRET = "0123456789abcdef" * 8
KEYS = ActiveSupport::CachingKeyGenerator.new(ActiveSupport::KeyGenerator.new(SECRET, iterations: 1000))

# What an application's middleware puts into each request.
def request
  ActionDispatch::Request.new(
    "action_dispatch.key_generator" => KEYS,
    "action_dispatch.secret_key_base" => SECRET,
    "action_dispatch.authenticated_encrypted_cookie_salt" => "authenticated encrypted cookie",
    "action_dispatch.encrypted_cookie_cipher" => "aes-256-gcm",
    "action_dispatch.use_authenticated_cookie_encryption" => true,
    "action_dispatch.use_cookies_with_metadata" => true,
    "action_dispatch.cookies_serializer" => :json,
    "action_dispatch.cookies_rotations" => ActiveSupport::Messages::RotationConfiguration.new,
  )
end

JAR = ActionDispatch::Cookies::CookieJar.new(request)
ENCRYPTED = JAR.encrypted

def commit
  ENCRYPTED["_app_session"] = { value: SESSION }
  JAR["_app_session"]
end

def best
  runs = (1..15).map do
    from = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID)
    500.times { yield }
    (Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) - from) / 500 * 1e6
  end
  runs.min
end

commit
raise "it does not come back" unless ENCRYPTED["_app_session"] == SESSION
printf("rails/commit/rails\t%.3f\n", best { commit })
printf("rails/open/rails\t%.3f\n", best { ENCRYPTED["_app_session"] })
