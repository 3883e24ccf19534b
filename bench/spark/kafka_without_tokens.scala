// Spark's Kafka source calls three classes of spark-token-provider-kafka-0-10, an artefact that not every repository
// serves. The benchmark's broker asks for no authentication, so all they have to do here is pass parameters on.
package org.apache.spark.kafka010

import java.{util => ju}

import scala.jdk.CollectionConverters._

import org.apache.spark.SparkConf

class KafkaConfigUpdater(module: String, kafkaParams: Map[String, Object]) {
  private val params = new ju.HashMap[String, Object](kafkaParams.asJava)

  def set(key: String, value: Object): this.type = { params.put(key, value); this }
  def setIfUnset(key: String, value: Object): this.type = { params.putIfAbsent(key, value); this }
  def setAuthenticationConfigIfNeeded(): this.type = this
  def setAuthenticationConfigIfNeeded(cluster: Option[Nothing]): this.type = this
  def build(): ju.Map[String, Object] = params
}

object KafkaTokenUtil {
  def findMatchingTokenClusterConfig(conf: SparkConf, bootstrapServers: String): Option[Nothing] = None
  def needTokenUpdate(params: ju.Map[String, Object], cluster: Option[Nothing]): Boolean = false
}

object KafkaRedactionUtil {
  def redactParams(params: Seq[(String, Object)]): Seq[(String, Object)] = params
}
